import io

import numpy as np
import pytest
from PIL import Image

from tests.support.shapes import CIRCLE, SQUARE, shapes_folder
from training.data.augmentation import Augmentation
from training.data.dataset import load_batch, read_dataset
from training.features.cached_augmentation import (
    COPIES,
    Copy,
    exact_views,
    folder_of,
    how_varied,
    preview,
    shown,
    varied_copies,
)

OFF, ROTATE, FLIP = Augmentation(), Augmentation(rotate=20), Augmentation(flip=True)


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    folder = shapes_folder(tmp_path_factory.mktemp("views") / "shapes", {CIRCLE: 6, SQUARE: 6})
    return read_dataset(folder, quiet=True).samples


def test_a_copy_is_the_same_in_whatever_company_it_is_made(samples):
    images = load_batch(samples, (32, 32))
    copy = Copy(ROTATE, 0, 0)
    together = shown(images, samples, copy)
    alone = np.concatenate([shown(images[i : i + 1], samples[i : i + 1], copy) for i in range(len(samples))])
    np.testing.assert_array_equal(together, alone)
    assert (together != images).any(axis=(1, 2, 3)).all()


def test_copies_and_seeds_differ_and_have_folders_of_their_own(samples):
    images = load_batch(samples, (32, 32))
    copies = [Copy(ROTATE, 0, 0), Copy(ROTATE, 1, 0), Copy(ROTATE, 0, 1), Copy(Augmentation(rotate=10), 0, 0)]
    pixels = {shown(images, samples, copy).tobytes() for copy in copies}
    assert len(pixels) == len({folder_of(copy) for copy in copies}) == 4
    assert folder_of("left-right") == "left-right"


@pytest.mark.parametrize(
    ("mirror", "augmentation", "exact"),
    [
        ("none", OFF, ("plain",)),
        ("none", FLIP, ("plain", "left-right")),
        ("horizontal", FLIP, ("plain", "left-right")),
        ("none", Augmentation(vertical_flip=True), ("plain", "up-down")),
        ("horizontal", Augmentation(vertical_flip=True), ("plain", "left-right", "up-down", "both")),
        ("all", FLIP, ("plain", "left-right", "up-down", "both")),
    ],
)
def test_flips_are_exact_views(mirror, augmentation, exact):
    assert exact_views(mirror, augmentation) == exact
    assert varied_copies(augmentation, 0) == ()


def test_other_moves_need_copies():
    assert [copy.number for copy in varied_copies(ROTATE, 3)] == list(range(COPIES))
    assert varied_copies(ROTATE, 3)[0].seed == 3


def test_it_says_which_way_images_take():
    views = ("plain", *varied_copies(ROTATE, 0))
    assert "anew in every epoch" in how_varied(("plain",), views, at_pixels=True)
    assert f"{COPIES} varied copies" in how_varied(("plain",), views, at_pixels=False)
    assert "exact" in how_varied(("plain", "left-right"), ("plain", "left-right"), at_pixels=False)


def test_the_preview_shows_one_image_of_each_class(samples):
    sheet = Image.open(io.BytesIO(preview(samples, (64, 32), ROTATE, 0)))
    assert sheet.size == (8 * (32 + 6) + 6, 24 + 2 * (64 + 6) + 6)
    assert preview(samples, (64, 32), OFF, 0) is None
