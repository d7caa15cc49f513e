import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from models.card import Head, Pool, Tap
from models.errors import BadParameter
from service.rendering.colormap import TABLE
from service.rendering.tiles import DEFAULT_TILES, MAX_TILES, tiles
from tests.support.cards import small_card

EARLY = Tap(index=0, name="early", shape=(300, 150, 40), stride=2)
LATE = Tap(index=1, name="late", shape=(3, 2, 4), stride=64)
LABELS = ("a", "b", "c")
CARD = small_card(labels=LABELS, taps=(EARLY, LATE), head=Head(pools=(Pool(tap=1, start=2, stop=6),), embedding_size=6))
RNG = np.random.default_rng(5)
KERNEL = RNG.normal(size=(6, 3)).astype(np.float32)
MAPS = [(tap, RNG.normal(size=tap.shape).astype(np.float32)) for tap in (EARLY, LATE)]


def layers(maps, chosen):
    answer = json.loads(tiles({"model": "cells"}, maps, chosen, CARD, KERNEL))
    assert answer["model"] == "cells"
    return answer["layers"]


def opened(tile):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(tile["png"]))).convert("RGB"))


def test_each_channel_has_its_picture_figures_and_peak():
    (layer,) = layers(MAPS[1:], [[3, 0]])
    assert (layer["name"], layer["stride"], layer["shape"]) == ("late", 64, [3, 2, 4])
    assert [tile["channel"] for tile in layer["tiles"]] == [3, 0]
    for tile in layer["tiles"]:
        values = MAPS[1][1][:, :, tile["channel"]]
        assert (tile["low"], tile["high"]) == (values.min(), values.max())
        assert tile["strength"] == pytest.approx(np.abs(values).mean())
        row, column = tile["peak"]
        picture = opened(tile)
        assert picture.shape == (3, 2, 3)
        assert picture[row, column].tolist() in (TABLE[0].tolist(), TABLE[-1].tolist())


def test_a_channel_speaks_for_labels_by_its_mean_and_the_heads_weights():
    ((tile,),) = (layer["tiles"] for layer in layers(MAPS[1:], [[1]]))
    shares = KERNEL[3].astype(float) * MAPS[1][1][:, :, 1].mean()
    expected = {label: shares[i] - np.delete(shares, i).mean() for i, label in enumerate(LABELS)}
    assert {each["label"]: each["lead"] for each in tile["labels"]} == pytest.approx(expected)
    magnitudes = [abs(each["lead"]) for each in tile["labels"]]
    assert magnitudes == sorted(magnitudes, reverse=True)


def test_a_layer_that_the_head_skips_speaks_for_no_label_and_large_maps_shrink():
    (layer,) = layers(MAPS[:1], [None])
    strength = [tile["strength"] for tile in layer["tiles"]]
    assert len(strength) == DEFAULT_TILES
    assert strength == sorted(strength, reverse=True)
    assert all(tile["labels"] == [] for tile in layer["tiles"])
    assert opened(layer["tiles"][0]).shape == (112, 56, 3)
    ((alone,),) = (layer["tiles"] for layer in layers(MAPS[:1], [[7]]))
    assert opened(alone).shape == (300, 150, 3)


def test_nothing_and_no_number_are_drawn_too():
    silent = np.zeros(LATE.shape, np.float32)
    silent[0, 0, 1] = np.nan
    (layer,) = layers([(LATE, silent)], [[0, 1]])
    assert not opened(layer["tiles"][0]).reshape(-1, 3).std(axis=0).any()
    assert all(tile["strength"] == 0 for tile in layer["tiles"])


def test_too_many_are_refused():
    with pytest.raises(BadParameter, match="257 channels"):
        layers(MAPS[:1], [[0] * (MAX_TILES + 1)])
