import json
from pathlib import Path

import numpy as np
import pytest

from models.errors import BadImage, BadParameter, UnknownLayer
from service.offline.feature_maps import Maps, kind_of, write, write_all
from service.settings import Settings
from tests.support.images import jpeg
from tests.support.networks import stored


def maps(kind, layers=("0",), channels="0-1"):
    return Maps(stored("cnn"), Settings(), layers, channels, kind)


def test_a_file_for_each_image_placed_as_the_images_are(tmp_path):
    for place in ("a.jpg", "more/a.jpg", "more/a.png"):
        write(tmp_path / "in" / place, jpeg(40, 40, seed=len(place)))
    write(tmp_path / "in" / "b.jpg", b"no image")
    files = [tmp_path / "in" / place for place in ("a.jpg", "b.jpg", "more/a.jpg", "more/a.png")]
    tried = list(write_all(maps("npz"), files, tmp_path / "out"))
    assert [path for path, _ in tried] == files
    assert [type(error) for _, error in tried] == [type(None), BadImage, type(None), type(None)]
    found = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*"))
    assert found == ["a.jpg.npz", "more/a.jpg.npz", "more/a.png.npz"]
    name = stored("cnn").card.taps[0].name
    first, second = (np.load(tmp_path / "out" / place)[name] for place in ("a.jpg.npz", "more/a.jpg.npz"))
    assert first.shape == second.shape
    assert first.shape[2] == 2
    assert not np.array_equal(first, second)


def test_each_kind_of_file(tmp_path):
    picture = tmp_path / "a.jpg"
    picture.write_bytes(jpeg(40, 40))
    assert maps("png").of(picture).startswith(b"\x89PNG")
    assert json.loads(maps("json").of(picture))["layers"][0]["channels"] == [0, 1]
    with pytest.raises(UnknownLayer):
        maps("png", layers=("nowhere",))


def test_the_kind_is_named_or_as_the_file_ends():
    assert kind_of(None, None, alone=True) == "png"
    assert kind_of(None, Path("a.npz"), alone=True) == "npz"
    assert kind_of("json", Path("a.txt"), alone=True) == "json"
    assert kind_of(None, Path("folder"), alone=False) == "png"
    for format, output, alone in [(None, Path("a.gif"), True), (None, Path("a.npz"), False)]:
        with pytest.raises(BadParameter, match=r"Use png, npz or json|Name a folder"):
            kind_of(format, output, alone=alone)


def test_what_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BadParameter, match="Choose another place with --output"):
        write(tmp_path / "file" / "maps.png", b"")
