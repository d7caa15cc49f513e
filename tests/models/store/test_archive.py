import io
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from models.errors import BadData, BadParameter, StoreError, UnknownModel
from models.store import archive, store
from tests.support.cards import small_card


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def keras_file(config: object) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        with zipfile.ZipFile(folder / "model.keras", "w") as file:
            file.writestr("config.json", json.dumps(config))
        (folder / "plots").mkdir()
        (folder / "plots" / "curve.png").write_bytes(b"png")

    return write


PLAIN = {"class_name": "Functional", "module": "keras", "config": {"layers": []}}


def stored(home: Path, config: object = PLAIN) -> store.StoredModel:
    return store.save(small_card(), keras_file(config))


def rewritten(path: Path, change: Callable[[tarfile.TarFile], None]) -> Path:
    """The archive's members, uncompressed, and what ``change`` adds."""
    target = path.with_name("changed.bentomodel")
    with tarfile.open(path) as old, tarfile.open(target, "w") as new:
        for member in old:
            new.addfile(member, old.extractfile(member))
        change(new)
    return target


def add(name: str, data: bytes = b"", **attributes: object) -> Callable[[tarfile.TarFile], None]:
    def change(file: tarfile.TarFile) -> None:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        for attribute, value in attributes.items():
            setattr(member, attribute, value)
        file.addfile(member, io.BytesIO(data))

    return change


def test_there_and_back(home: Path, tmp_path: Path) -> None:
    model = stored(home)
    path = archive.export_archive("cells", tmp_path)
    assert path == tmp_path / f"cells-{model.version}.bentomodel"
    assert archive.export_archive(model.tag, tmp_path / "mine") == tmp_path / "mine.bentomodel"
    store.delete(model.tag)
    assert archive.import_archive(path) == model
    assert store.get("cells") == model
    store.verify(model)
    with pytest.raises(StoreError, match="exists already"):
        archive.import_archive(path)


def test_an_older_version_does_not_become_the_latest(home: Path, tmp_path: Path) -> None:
    old = stored(home)
    path = archive.export_archive("cells", tmp_path)
    store.delete(old.tag)
    new = stored(home)
    archive.import_archive(path)
    assert store.get("cells") == new
    assert store.list_models("cells") == [new, old]


def test_bentoml_imports_it(home: Path, tmp_path: Path) -> None:
    model = stored(home)
    path = archive.export_archive("cells", tmp_path)
    other = tmp_path / "other"
    subprocess.run(
        [sys.executable, "-m", "bentoml", "models", "import", str(path)],
        env=os.environ | {"BENTOML_HOME": str(other)},
        check=True,
        capture_output=True,
        timeout=120,
    )
    assert (other / "models" / "cells" / model.version / "card.json").is_file()


def test_damaged_and_unlisted_files_are_refused(home: Path, tmp_path: Path) -> None:
    model = stored(home)
    path = archive.export_archive("cells", tmp_path)
    store.delete(model.tag)
    whole = path.read_bytes()
    for change, message in (
        (add("custom_objects.pkl", b"x"), "no model has"),
        (add("plots/more.png", b"x"), "does not list"),
        (add("plots/curve.png", b"other"), "damaged"),
    ):
        with pytest.raises(BadData, match=message):
            archive.import_archive(rewritten(path, change))
    for name, kind in (("link", tarfile.SYMTYPE), ("link", tarfile.LNKTYPE), ("pipe", tarfile.FIFOTYPE)):
        with pytest.raises(BadData, match="no model has"):
            archive.import_archive(rewritten(path, add(name, type=kind, linkname="/etc/passwd")))
    for name in ("../outside.json", "/outside.json", "a/../../outside.json"):
        with pytest.raises(BadData):
            archive.import_archive(rewritten(path, add(name, b"x")))
    for cut in (0, 1, 100, len(whole) // 2):
        path.write_bytes(whole[:cut])
        with pytest.raises(BadData):
            archive.import_archive(path)
    assert store.list_models() == []
    assert list((home / "catseye" / "staging").iterdir()) == []
    assert not (home / "catseye" / "outside.json").exists()


def test_too_many_files(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored(home)
    path = archive.export_archive("cells", tmp_path)
    monkeypatch.setattr(archive, "MAX_FILES", 2)
    with pytest.raises(BadData, match="more than 2 files"):
        archive.import_archive(path)


@pytest.mark.parametrize(
    "part",
    [
        {"class_name": "Lambda", "module": "keras.layers", "config": {}},
        {"class_name": "Thing", "module": "os.path", "config": {}},
        {"class_name": "__lambda__", "config": {"value": "..."}},
    ],
)
def test_code_is_refused(home: Path, tmp_path: Path, part: object) -> None:
    model = stored(home, PLAIN | {"config": {"layers": [{"inner": part}]}})
    path = archive.export_archive("cells", tmp_path)
    store.delete(model.tag)
    with pytest.raises(BadData, match="holds code"):
        archive.import_archive(path)
    assert store.list_models() == []


def test_what_is_no_archive(home: Path, tmp_path: Path) -> None:
    with pytest.raises(BadData, match="There is no file"):
        archive.import_archive(tmp_path / "gone")
    with tarfile.open(tmp_path / "empty", "w"):
        pass
    with pytest.raises(BadData, match="no catseye model"):
        archive.import_archive(tmp_path / "empty")
    with pytest.raises(UnknownModel):
        archive.export_archive("cells", tmp_path)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "name: x", "name: ../x\nversion: v", "a: [", "name: 1\nversion: A", "[" * 100_000, "\0", "&a [*a]"],
)
def test_a_malformed_model_yaml_is_refused(home: Path, tmp_path: Path, text: str) -> None:
    with tarfile.open(tmp_path / "model.tar", "w") as file:
        add("./model.yaml", text.encode())(file)
        add("./card.json", small_card("x").model_dump_json().encode())(file)
    with pytest.raises(BadParameter):
        archive.import_archive(tmp_path / "model.tar")
    assert store.list_models() == []


def test_a_damaged_model_is_not_exported(home: Path, tmp_path: Path) -> None:
    model = stored(home)
    (model.path / "plots" / "curve.png").write_bytes(b"x")
    with pytest.raises(StoreError, match=r"curve\.png"):
        archive.export_archive("cells", tmp_path / "out")
    assert not list(tmp_path.glob("out*"))
