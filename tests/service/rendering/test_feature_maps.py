import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from models.card import Tap
from models.errors import BadParameter, UnknownLayer
from service.rendering.feature_maps import (
    CHANNELS_PATTERN,
    MAX_NUMBERS,
    Channels,
    check_size,
    find_taps,
    parse_channels,
    render,
)
from tests.support.cards import small_card

EARLY = Tap(index=0, name="block_2_add", shape=(6, 4, 5), stride=4)
LATE = Tap(index=1, name="out_relu", shape=(2, 2, 9), stride=16)
CARD = small_card(taps=(EARLY, LATE))
RNG = np.random.default_rng(1)
MAPS = [(tap, RNG.normal(size=tap.shape).astype(np.float32)) for tap in (EARLY, LATE)]


def test_layers_are_found_by_name_and_by_index_in_the_order_asked():
    assert find_taps(CARD, ["1", "block_2_add"]) == [LATE, EARLY]
    assert find_taps(CARD, ["1", "out_relu"]) == [LATE]
    assert find_taps(CARD, []) == [LATE]


@pytest.mark.parametrize("layer", ["2", "-1", "", "out", "x" * 500])
def test_an_unknown_layer_is_refused_with_those_there_are(layer):
    with pytest.raises(UnknownLayer, match=r"0 \(block_2_add\), 1 \(out_relu\)"):
        find_taps(CARD, [layer])


def test_a_model_without_maps_says_so():
    with pytest.raises(UnknownLayer, match="no feature maps"):
        find_taps(small_card(), [])


@pytest.mark.parametrize(
    ("text", "channels"),
    [
        (None, Channels()),
        ("all", Channels()),
        ("3", Channels(numbers=(3,))),
        ("0, 3,2-4", Channels(numbers=(0, 3, 2, 4))),
        ("strongest:2", Channels(strongest=2)),
        ("strongest", Channels(strongest=64)),
    ],
)
def test_channels_are_read(text, channels):
    assert parse_channels(text) == channels


@pytest.mark.parametrize(
    "text", ["", "-1", "a", "1,,2", "4-2", "0-9999999", "²", "1" * 50, "strongest:0", "strongest:x", "best:3"]
)
def test_channels_that_cannot_be_read_are_refused_in_words(text):
    assert not re.fullmatch(CHANNELS_PATTERN, text) or text in ("4-2", "0-9999999", "strongest:0")
    with pytest.raises(BadParameter, match="strongest:8"):
        parse_channels(text)


def test_a_channel_that_the_layer_does_not_have_is_refused():
    with pytest.raises(BadParameter, match="from 0 to 4"):
        render({}, MAPS[:1], Channels(numbers=(5,)), "json")


def test_json_holds_values_shape_stride_and_channels():
    answer = json.loads(render({"model": "cells"}, MAPS, Channels(numbers=(2, 0)), "json"))
    assert answer["model"] == "cells"
    early = answer["layers"][0]
    assert (early["index"], early["name"], early["stride"]) == (0, "block_2_add", 4)
    assert (early["shape"], early["channels"]) == ([6, 4, 2], [2, 0])
    assert np.allclose(early["values"], MAPS[0][1][:, :, [2, 0]])


def test_the_strongest_channels_come_first():
    answer = json.loads(render({}, MAPS[:1], Channels(strongest=2), "json"))
    strength = np.abs(MAPS[0][1]).mean(axis=(0, 1))
    assert answer["layers"][0]["channels"] == np.argsort(-strength)[:2].tolist()


def test_npz_is_read_by_numpy_without_pickle():
    with np.load(io.BytesIO(render({}, MAPS, Channels(), "npz")), allow_pickle=False) as arrays:
        assert set(arrays) == {"block_2_add", "block_2_add.channels", "out_relu", "out_relu.channels"}
        assert (arrays["out_relu"] == MAPS[1][1]).all()
        assert arrays["out_relu"].dtype == np.float32
        assert arrays["out_relu.channels"].tolist() == list(range(9))


def height(maps, channels):
    return Image.open(io.BytesIO(render({}, maps, channels, "png"))).height


def test_png_shows_all_layers_one_below_the_other():
    every = Channels()
    assert height(MAPS, every) == height(MAPS[:1], every) + height(MAPS[1:], every)
    assert height(MAPS[:1], Channels(numbers=(1,))) > 400


def test_too_large_an_answer_is_refused_and_says_how_to_ask_for_less():
    large = Tap(index=0, name="block1_conv2", shape=(224, 224, 64), stride=1)
    with pytest.raises(BadParameter, match=r"channels=strongest:8.*npz"):
        check_size([large], Channels(), "json")
    check_size([large], Channels(), "npz")
    check_size([large], Channels(strongest=8), "json")
    check_size([large], Channels(numbers=tuple(range(15))), "json")
    with pytest.raises(BadParameter):
        check_size([large] * 3, Channels(), "npz")
    assert MAX_NUMBERS["json"] < MAX_NUMBERS["npz"] < MAX_NUMBERS["png"]


def test_a_channel_that_the_layer_lacks_is_named():
    maps = np.ones((2, 2, 4), np.float32)
    tap = Tap(index=1, name="block", shape=maps.shape, stride=8)
    with pytest.raises(BadParameter, match="no channel 4"):
        parse_channels("0,4").of(maps, tap)
