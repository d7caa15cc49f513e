import io

import numpy as np
import pytest
from PIL import Image

from tests.support.shapes import CIRCLE, SQUARE, shapes_folder
from training.data.augmentation import Augmentation
from training.data.dataset import load_batch, read_dataset
from training.features.cached_augmentation import (
    COPIES,
    AugmentedCopy,
    apply_view,
    augmented_copies,
    describe_augmentation,
    flipped,
    flips_of,
    folder_of,
    preview,
)

OFF, ROTATE, LESS, FLIP = Augmentation(), Augmentation(rotate=20), Augmentation(rotate=10), Augmentation(flip=True)


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    folder = shapes_folder(tmp_path_factory.mktemp("views") / "shapes", {CIRCLE: 6, SQUARE: 6})
    return read_dataset(folder, quiet=True).samples


def test_flips_exchange_rows_and_columns():
    image = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3)
    np.testing.assert_array_equal(flipped(image, "plain"), image)
    np.testing.assert_array_equal(flipped(image, "left-right"), image[:, :, ::-1])
    np.testing.assert_array_equal(flipped(image, "up-down"), image[:, ::-1])
    np.testing.assert_array_equal(flipped(image, "both"), image[:, ::-1, ::-1])


def test_a_copy_does_not_depend_on_the_batch_that_it_is_made_in(samples):
    images = load_batch(samples, (32, 32))
    copy = AugmentedCopy(ROTATE, 0, 0)
    together = apply_view(images, samples, copy)
    alone = np.concatenate([apply_view(images[i : i + 1], samples[i : i + 1], copy) for i in range(len(samples))])
    np.testing.assert_array_equal(together, alone)
    assert (together != images).any(axis=(1, 2, 3)).all()


def test_copies_and_seeds_differ_and_have_folders_of_their_own(samples):
    images = load_batch(samples, (32, 32))
    copies = [AugmentedCopy(*each) for each in ((ROTATE, 0, 0), (ROTATE, 1, 0), (ROTATE, 0, 1), (LESS, 0, 0))]
    pixels = {apply_view(images, samples, copy).tobytes() for copy in copies}
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
def test_flips_need_no_copies(mirror, augmentation, exact):
    assert flips_of(mirror, augmentation) == exact
    assert augmented_copies(augmentation, 0) == ()


def test_other_transforms_need_copies():
    assert [copy.number for copy in augmented_copies(ROTATE, 3)] == list(range(COPIES))
    assert augmented_copies(ROTATE, 3)[0].seed == 3


def test_the_description_says_what_is_cached():
    views = ("plain", *augmented_copies(ROTATE, 0))
    assert "new variants in every epoch" in describe_augmentation(("plain",), views, from_pixels=True)
    assert f"{COPIES} augmented copies" in describe_augmentation(("plain",), views, from_pixels=False)
    flips = ("plain", "left-right")
    assert "flips only" in describe_augmentation(flips, flips, from_pixels=False)


def test_the_preview_shows_one_image_of_each_class(samples):
    sheet = Image.open(io.BytesIO(preview(samples, (64, 32), ROTATE, 0)))
    assert sheet.size == (8 * (32 + 6) + 6, 24 + 2 * (64 + 6) + 6)
    assert preview(samples, (64, 32), OFF, 0) is None
