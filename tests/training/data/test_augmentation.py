import io

import numpy as np
import pytest
from PIL import Image

from models.errors import BadParameter
from tests.support.images import photograph
from training.data.augmentation import Augmentation, preview_sheet

IMAGES = np.stack([photograph(40, 40, seed) for seed in range(6)])


def rng(seed=0):
    return np.random.default_rng(seed)


def test_off_gives_the_images_themselves():
    off = Augmentation()
    assert not off.active
    assert off(IMAGES, rng()) is IMAGES


@pytest.mark.parametrize("name", ["rotate", "shift", "zoom", "flip", "vertical_flip", "brightness", "contrast"])
def test_each_move_works_alone_and_repeats_by_seed(name):
    move = Augmentation.from_text(name)
    assert move.active
    varied = move(IMAGES, rng())
    assert varied.shape == IMAGES.shape
    assert varied.dtype == np.uint8
    assert (varied != IMAGES).any()
    np.testing.assert_array_equal(move(IMAGES, rng()), varied)
    assert (move(IMAGES, rng(1)) != varied).any()


def test_the_original_is_not_written_to():
    before = IMAGES.copy()
    Augmentation.from_text("all")(IMAGES, rng())
    np.testing.assert_array_equal(IMAGES, before)


def test_a_flip_is_exact():
    flipped = Augmentation(flip=True)(IMAGES, rng())
    kinds = {0 if (a == b).all() else 1 if (a == b[:, ::-1]).all() else 2 for a, b in zip(flipped, IMAGES, strict=True)}
    assert kinds == {0, 1}


def test_moves_stay_within_what_was_asked():
    spot = np.zeros((64, 101, 101, 3), np.uint8)
    spot[:, 49:52, 49:52] = 255
    shifted = Augmentation(shift=0.2)(spot, rng())[..., 0].astype(float)
    y, x = np.mgrid[:101, :101] - 50
    weight = shifted.sum(axis=(1, 2))
    for axis in (x, y):
        offsets = (shifted * axis).sum(axis=(1, 2)) / weight
        assert np.abs(offsets).max() <= 20.6
        assert np.abs(offsets).max() > 15


def test_a_turn_keeps_the_centre_and_turns_the_rest():
    image = np.zeros((1, 81, 81, 3), np.uint8)
    image[:, 38:43, 60:65] = 255
    for seed in range(5):
        turned = Augmentation(rotate=180)(image, rng(seed))[0, ..., 0].astype(float)
        y, x = np.mgrid[:81, :81] - 40.0
        # The nearest edge mirrors: only what lies inside the circle is looked at.
        turned[np.hypot(x, y) > 35] = 0
        distance = np.hypot((turned * x).sum(), (turned * y).sum()) / turned.sum()
        assert distance == pytest.approx(22, abs=1.0)


def test_no_black_corners():
    grey = np.full((8, 32, 48, 3), 90, np.uint8)
    varied = Augmentation(rotate=45, shift=0.5, zoom=0.5)(grey, rng())
    np.testing.assert_array_equal(varied, grey)


def test_light_changes_light():
    grey = np.full((50, 4, 4, 3), 100, np.uint8)
    lit = Augmentation(brightness=0.2)(grey, rng())[:, 0, 0, 0].astype(int)
    assert 49 <= lit.min() < 70
    assert 130 < lit.max() <= 151
    spread = Augmentation(contrast=0.5)(IMAGES, rng()).std(axis=(1, 2, 3)) / IMAGES.std(axis=(1, 2, 3))
    assert spread.min() > 0.6
    assert spread.max() < 1.55


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("", Augmentation()),
        ("none", Augmentation()),
        ("flip, rotate=15", Augmentation(flip=True, rotate=15.0)),
        ("Vertical-Flip; zoom", Augmentation(vertical_flip=True, zoom=0.1)),
        ("usual, flip=off", Augmentation(rotate=10.0, shift=0.1, zoom=0.1, brightness=0.1, contrast=0.2)),
    ],
)
def test_settings_in_words(text, meaning):
    assert Augmentation.from_text(text) == meaning
    assert Augmentation.from_text(str(meaning)) == meaning


@pytest.mark.parametrize("text", ["spin", "rotate=fast", "rotate=200", "shift=-1", "zoom=nan"])
def test_settings_that_are_none(text):
    with pytest.raises(BadParameter, match=text.partition("=")[0]):
        Augmentation.from_text(text)


def test_the_preview_sheet_shows_originals_first():
    sheet = Image.open(io.BytesIO(preview_sheet(IMAGES[:2], Augmentation.from_text("all"), variants=3)))
    assert sheet.size == (6 + 4 * 46, 24 + 2 * 46 + 6)
    np.testing.assert_array_equal(np.asarray(sheet)[24:64, 6:46], IMAGES[0])
