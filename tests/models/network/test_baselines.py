"""The two baselines: shapes, weight counts, and what the lecture says of each."""

import keras
import numpy as np
import pytest

from models.network.baselines import cnn, mlp
from models.network.classifier import build_classifier
from tests.support.networks import images


def pixels(size: int = 32) -> keras.KerasTensor:
    return keras.Input((size, size, 3), name="image")


def test_the_mlp_ends_in_a_row_of_numbers_and_grows_with_the_image() -> None:
    small, large = mlp(input_tensor=pixels(16)), mlp(input_tensor=pixels(32))
    assert small.output_shape == large.output_shape == (None, 128)
    assert large.count_params() - small.count_params() == (32 * 32 - 16 * 16) * 3 * 256


def test_the_cnn_ends_in_a_map_and_has_the_same_weights_for_any_image() -> None:
    small, large = cnn(input_tensor=pixels(32)), cnn(input_tensor=pixels(64))
    assert small.output_shape == (None, 4, 4, 256)
    assert large.output_shape == (None, 8, 8, 256)
    assert small.count_params() == large.count_params()


def test_neither_has_batch_normalisation() -> None:
    for base in (mlp(input_tensor=pixels()), cnn(input_tensor=pixels())):
        assert not [layer for layer in base.layers if isinstance(layer, keras.layers.BatchNormalization)]


@pytest.mark.parametrize("builder", [mlp, cnn])
def test_pretrained_weights_are_refused(builder: object) -> None:
    assert callable(builder)
    with pytest.raises(ValueError, match="pretrained"):
        builder(weights="imagenet", input_tensor=pixels())
    with pytest.raises(ValueError, match="classifier of their own"):
        builder(include_top=True, input_tensor=pixels())


def test_a_moved_pattern_moves_in_the_cnns_map_and_changes_the_mlps_numbers() -> None:
    """The lecture's first argument: the same pattern elsewhere is another pattern to an MLP."""
    square = np.zeros((2, 64, 64, 3), np.uint8)
    square[0, 8:24, 8:24] = square[1, 32:48, 32:48] = images(1, 16)[0]
    tied, shared = (build_classifier(name, 2, input_size=64) for name in ("mlp", "cnn"))
    first, second = (np.asarray(row) for row in tied.output_model()(square, training=False)["embedding"])
    assert np.abs(first - second).max() > 0.1 * np.abs(first).max()
    first, second = (np.asarray(row) for row in shared.output_model()(square, training=False)["embedding"])
    assert np.allclose(first, second, atol=0.05 * np.abs(first).max())
