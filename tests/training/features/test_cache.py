import numpy as np
import pytest

from models.errors import StoreError
from models.network.classifier import build_classifier
from tests.support.shapes import CIRCLE, SQUARE, shapes_folder
from training.data.augmentation import Augmentation
from training.data.dataset import load_batch, read_dataset
from training.features.cache import VIEWS, FeatureStore, cached_rows, mirrored
from training.features.cached_augmentation import shown, varied_copies
from training.features.frozen_trunk import cut_at_embedding


@pytest.fixture
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("CATSEYE_HOME", str(tmp_path / "home"))
    return tmp_path


def test_views_mirror_rows_and_columns():
    image = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3)
    np.testing.assert_array_equal(mirrored(image, "plain"), image)
    np.testing.assert_array_equal(mirrored(image, "left-right"), image[:, :, ::-1])
    np.testing.assert_array_equal(mirrored(image, "up-down"), image[:, ::-1])
    np.testing.assert_array_equal(mirrored(image, "both"), image[:, ::-1, ::-1])
    assert VIEWS["all"] == ("plain", "left-right", "up-down", "both")


def test_varied_copies_are_kept_too(home):
    samples = read_dataset(shapes_folder(home / "data", {CIRCLE: 4, SQUARE: 4}), quiet=True).samples
    classifier = build_classifier("cnn", 2, input_size=48)
    copies = varied_copies(Augmentation(rotate=30), 0)
    rows = cached_rows(cut_at_embedding(classifier), samples, copies, title="t")
    pixels = shown(load_batch(samples, (48, 48)), samples, copies[1])
    np.testing.assert_allclose(rows[1].all(), classifier.output_model()(pixels)["embedding"], atol=1e-4)
    assert np.abs(rows[1].all() - rows[0].all()).max() > 1e-3


def test_rows_are_keras_own_and_are_computed_once(home):
    samples = read_dataset(shapes_folder(home / "data", {CIRCLE: 12, SQUARE: 12}), quiet=True).samples
    classifier = build_classifier("cnn", 2, input_size=48)
    cut = cut_at_embedding(classifier)
    plain, turned = cached_rows(cut, samples, ("plain", "left-right"), title="t")
    images = load_batch(samples, (48, 48))
    np.testing.assert_allclose(plain.all(), classifier.output_model()(images)["embedding"], atol=1e-4)
    np.testing.assert_allclose(turned.all(), classifier.output_model()(images[:, :, ::-1])["embedding"], atol=1e-4)
    files = sorted((home / "home").rglob("*.npy"))
    again = cached_rows(cut, samples[:5], ("plain",), title="t")[0]
    np.testing.assert_array_equal(again.all(), plain.all()[:5])
    assert sorted((home / "home").rglob("*.npy")) == files


def test_a_torn_shard_is_as_good_as_none(tmp_path):
    store = FeatureStore(tmp_path)
    store.add(["a", "b"], np.arange(6, dtype=np.float32).reshape(2, 3))
    store.add(["c"], np.ones((1, 3), np.float32))
    again = FeatureStore(tmp_path)
    np.testing.assert_array_equal(again.rows(["c", "a"]).all(), [[1, 1, 1], [0, 1, 2]])
    for path in tmp_path.glob("*.npy"):
        path.write_bytes(path.read_bytes()[:40])
    assert "a" not in FeatureStore(tmp_path)


def test_a_place_that_cannot_be_written_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="CATSEYE_HOME"):
        FeatureStore(tmp_path / "file").add(["a"], np.ones((1, 2), np.float32))
