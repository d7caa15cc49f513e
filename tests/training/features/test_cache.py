import fcntl
import os

import numpy as np
import pytest

from models.errors import StoreError
from models.network.classifier import build_classifier
from tests.support.shapes import CIRCLE, SQUARE, shapes_folder
from training.config import catseye_home
from training.data.augmentation import Augmentation
from training.data.dataset import load_batch, read_dataset
from training.features.cache import FeatureStore, cached_rows
from training.features.cached_augmentation import apply_view, augmented_copies
from training.features.frozen_trunk import base_trunk


@pytest.fixture
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("CATSEYE_HOME", str(tmp_path / "home"))
    return tmp_path


def test_features_of_augmented_copies_are_cached_too(home):
    samples = read_dataset(shapes_folder(home / "data", {CIRCLE: 4, SQUARE: 4}), quiet=True).samples
    classifier = build_classifier("cnn", 2, input_size=48)
    copies = augmented_copies(Augmentation(rotate=30), 0)
    rows = cached_rows(base_trunk(classifier), samples, copies, title="t")
    pixels = apply_view(load_batch(samples, (48, 48)), samples, copies[1])
    np.testing.assert_allclose(rows[1].all(), classifier.output_model()(pixels)["embedding"], atol=1e-4)
    assert np.abs(rows[1].all() - rows[0].all()).max() > 1e-3


def test_rows_are_what_keras_computes_and_are_computed_once(home):
    samples = read_dataset(shapes_folder(home / "data", {CIRCLE: 12, SQUARE: 12}), quiet=True).samples
    classifier = build_classifier("cnn", 2, input_size=48)
    trunk = base_trunk(classifier)
    plain, turned = cached_rows(trunk, samples, ("plain", "left-right"), title="t")
    images = load_batch(samples, (48, 48))
    np.testing.assert_allclose(plain.all(), classifier.output_model()(images)["embedding"], atol=1e-4)
    np.testing.assert_allclose(turned.all(), classifier.output_model()(images[:, :, ::-1])["embedding"], atol=1e-4)
    files = sorted((home / "home").rglob("*.npy"))
    again = cached_rows(trunk, samples[:5], ("plain",), title="t")[0]
    np.testing.assert_array_equal(again.all(), plain.all()[:5])
    assert sorted((home / "home").rglob("*.npy")) == files


def features_of(samples, seed, size=48):
    """Cache the features of a network of its own; the folder that they are in."""
    trunk = base_trunk(build_classifier("cnn", 2, input_size=size, seed=seed))
    rows = cached_rows(trunk, samples, ("plain",), title="t")[0].all()
    folder = catseye_home() / "features" / trunk.key()[:32]
    assert folder.is_dir()
    return folder, rows


def test_the_least_recently_used_features_make_way(home, monkeypatch, capsys):
    samples = read_dataset(shapes_folder(home / "data", {CIRCLE: 6, SQUARE: 6}), quiet=True).samples
    first, second = features_of(samples, 1)[0], features_of(samples, 2)[0]
    for age, folder in enumerate([first, second]):
        for path in (folder, *folder.rglob("*")):
            os.utime(path, (1e9 - age, 1e9 - age))
    features_of(samples, 1)  # It is used again, so the second is the least recently used.
    size = sum(path.stat().st_size for path in second.rglob("*"))
    monkeypatch.setenv("CATSEYE_CACHE_GB", str(2.5 * size / 1e9))
    capsys.readouterr()
    third, rows = features_of(samples, 3)
    assert (first.is_dir(), second.exists(), third.is_dir()) == (True, False, True)
    assert "Removed" in capsys.readouterr().out
    np.testing.assert_array_equal(features_of(samples, 3)[1], rows)


def test_features_in_use_stay_and_the_excess_is_said(home, monkeypatch, capsys):
    samples = read_dataset(shapes_folder(home / "data", {CIRCLE: 6, SQUARE: 6}), quiet=True).samples
    other = features_of(samples, 1)[0]
    monkeypatch.setenv("CATSEYE_CACHE_GB", "0")
    handle = os.open(other, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_SH)  # As another process does that computes features.
    capsys.readouterr()
    current = features_of(samples, 2)[0]
    assert "although CATSEYE_CACHE_GB is 0" in " ".join(capsys.readouterr().out.split())
    os.close(handle)
    assert other.is_dir()
    last = features_of(samples, 3)[0]
    assert [folder.exists() for folder in (other, current, last)] == [False, False, True]


def test_a_truncated_shard_is_ignored(tmp_path):
    store = FeatureStore(tmp_path)
    store.add(["a", "b"], np.arange(6, dtype=np.float32).reshape(2, 3))
    store.add(["c"], np.ones((1, 3), np.float32))
    again = FeatureStore(tmp_path)
    np.testing.assert_array_equal(again.rows(["c", "a"]).all(), [[1, 1, 1], [0, 1, 2]])
    for path in tmp_path.glob("*.npy"):
        path.write_bytes(path.read_bytes()[:40])
    assert "a" not in FeatureStore(tmp_path)


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="CATSEYE_HOME"):
        FeatureStore(tmp_path / "file").add(["a"], np.ones((1, 2), np.float32))
