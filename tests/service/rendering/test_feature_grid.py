import io

import numpy as np
import pytest
from PIL import Image

from models.card import Tap
from models.errors import BadParameter
from service.rendering.colormap import TABLE, colour
from service.rendering.feature_grid import Layer, feature_grids, strongest_channels

RNG = np.random.default_rng(4)


def tap(maps, name="block_3_add"):
    return Tap(index=1, name=name, shape=maps.shape, stride=8)


def feature_grid(maps, tap, channels=None, image=None):
    return feature_grids([Layer(maps=maps, tap=tap, channels=channels)], image=image)


def opened(png):
    image = Image.open(io.BytesIO(png))
    assert image.format == "PNG"
    return np.asarray(image.convert("RGB"))


def test_the_strongest_channels_come_first_and_count_negative_values_too():
    maps = np.zeros((3, 3, 4))
    maps[..., 1], maps[..., 3], maps[0, 0, 0] = -5, 2, 1
    assert strongest_channels(maps, 3) == [1, 3, 0]
    assert strongest_channels(maps, 99) == [1, 3, 0, 2]


def test_every_tile_shows_its_map():
    maps = RNG.normal(size=(7, 7, 5)).astype(np.float32)
    sheet = opened(feature_grid(maps, tap(maps), channels=[4, 0]))
    for channel in (4, 0):
        limit = np.percentile(np.abs(maps[..., channel].astype(float)), 99.5)
        tile = np.kron(colour(maps[..., channel].astype(float), limit), np.ones((57, 57, 1), np.uint8))
        assert contains(sheet, tile)


def contains(sheet, tile):
    height, width = tile.shape[:2]
    corners = np.argwhere((sheet == tile[0, 0]).all(axis=2))
    return any((sheet[y : y + height, x : x + width] == tile).all() for y, x in corners if fits(sheet, tile, y, x))


def fits(sheet, tile, y, x):
    return y + tile.shape[0] <= sheet.shape[0] and x + tile.shape[1] <= sheet.shape[1]


def amount(sheet, rgb):
    return int((sheet == rgb).all(axis=2).sum())


@pytest.mark.parametrize(
    ("shape", "count"), [((1, 1, 3), 3), ((112, 112, 32), 32), ((300, 20, 4), 4), ((7, 7, 2048), 1024)]
)
def test_sheets_stay_of_a_size_to_look_at(shape, count):
    maps = RNG.random(shape)
    sheet = opened(feature_grid(maps, tap(maps), channels=range(count)))
    assert 600 < sheet.shape[1] <= 1300
    assert sheet.shape[0] <= 3000


def test_a_channel_that_never_falls_to_zero_still_shows_its_pattern():
    maps = np.full((8, 8, 1), 4.0)
    maps[2, 3] = 5.0
    sheet = opened(feature_grid(maps, tap(maps)))
    assert amount(sheet, TABLE[-1]) > 40 * 40
    assert amount(sheet, TABLE[255]) > 60 * 40 * 40
    flat = opened(feature_grid(np.full((8, 8, 1), 4.0), tap(maps)))
    assert amount(flat, TABLE[-1]) > 60 * 40 * 40


def test_without_channels_the_strongest_are_drawn_beside_the_image():
    maps = RNG.random((2, 2, 100))
    red = np.zeros((40, 60, 3), np.uint8)
    red[..., 0] = 200
    sheet = opened(feature_grid(maps, tap(maps), image=red))
    assert amount(sheet, (200, 0, 0)) == 112 * 112
    assert amount(opened(feature_grid(maps, tap(maps))), (200, 0, 0)) == 0


def test_empty_and_broken_values_are_drawn_as_silence():
    maps = np.zeros((3, 3, 2), np.float32)
    maps[0, 0, 1] = np.nan
    sheet = opened(feature_grid(maps, tap(maps)))
    assert amount(sheet, TABLE[-1]) < 200  # no more than the legend's bright end


def test_too_many_channels_are_refused_with_what_to_do():
    maps = np.ones((2, 2, 4))
    with pytest.raises(BadParameter, match="channel") as caught:
        feature_grid(maps, tap(maps), channels=list(range(4)) * 300)
    assert caught.value.detail.count(". ") == 1


def test_other_scripts_and_long_names_do_not_break_the_title():
    maps = np.ones((2, 2, 1))
    feature_grid(maps, tap(maps, name="강아지" * 300 + "\n\x00\ud800"))
