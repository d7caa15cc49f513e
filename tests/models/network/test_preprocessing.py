"""Preprocessing inside the graph against Keras's own ``preprocess_input``."""

import keras
import numpy as np
import pytest

from models.network.backbones import BACKBONES, Backbone
from models.network.classifier import build_classifier
from models.network.preprocessing import IMAGENET_MEAN, IMAGENET_STD, normalization_layer, preprocess, set_normalization
from tests.support.networks import images
from tests.support.weight_sources import keras_module

TRAINED = [row for row in BACKBONES.values() if row.pretrained]


def preprocessed(row: Backbone, pixels: np.ndarray) -> np.ndarray:
    image = keras.Input(pixels.shape[1:], dtype="uint8")
    return np.asarray(keras.Model(image, preprocess(image, row.preprocessing))(pixels))


@pytest.mark.parametrize("row", TRAINED, ids=lambda row: row.name)
def test_pixels_become_what_keras_makes_of_them(row: Backbone) -> None:
    theirs = keras_module(row).preprocess_input
    # Every byte in every channel, each channel in another order.
    pixels = np.stack([np.arange(256), np.arange(256)[::-1], np.roll(np.arange(256), 99)], -1)
    pixels = pixels.reshape(1, 16, 16, 3).astype(np.uint8)
    expected = theirs(pixels.astype(np.float32))
    assert np.allclose(preprocessed(row, pixels), expected, rtol=1e-6, atol=1e-5)


def test_pixels_can_be_left_alone() -> None:
    image = keras.Input((2, 2, 3), dtype="uint8")
    model = keras.Model(image, preprocess(image, "none"))
    pixels = images(1, 2)
    assert np.array_equal(np.asarray(model(pixels)), pixels.astype(np.float32))


def test_no_preprocessing_layer_is_trained() -> None:
    for name in ("vgg16", "mobilenet", "cnn"):
        classifier = build_classifier(name, 2, input_size=32)
        layers = [layer for layer in classifier.model.layers if layer.name.startswith("preprocess_")]
        assert layers
        assert not any(layer.trainable_weights for layer in layers)


def test_a_random_efficientnet_normalises_like_imagenet() -> None:
    classifier = build_classifier("efficientnet_b0", 2, input_size=32)
    layer = normalization_layer(classifier.model)
    pixels = images(2, 32)
    expected = (pixels / 255 - IMAGENET_MEAN) / IMAGENET_STD
    found = keras.Model(classifier.model.input, layer.output)(pixels)
    assert np.allclose(np.asarray(found), expected, atol=1e-5)


def test_new_statistics_take_effect_and_are_saved(tmp_path: object) -> None:
    classifier = build_classifier("efficientnet_b0", 2, input_size=32)
    pixels = images(2, 32)
    before = np.asarray(classifier.model(pixels))
    set_normalization(classifier.model, np.asarray([0.1, 0.2, 0.3]), np.asarray([1.0, 2.0, 3.0]))
    after = np.asarray(classifier.model(pixels))
    assert not np.allclose(before, after)
    path = f"{tmp_path}/model.keras"
    classifier.model.save(path)
    assert np.array_equal(np.asarray(keras.saving.load_model(path)(pixels)), after)
