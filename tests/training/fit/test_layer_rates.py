import keras
import numpy as np
import pytest

from models.network.classifier import build_classifier
from models.network.freezing import apply_freeze
from training.fit.optimizer import measure_layer_rates

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 75, 75, 3)).astype(np.uint8)
HEAD = np.sqrt(2 / np.pi)


def network(backbone, freeze="none"):
    classifier = build_classifier(backbone, 2, input_size=75)
    apply_freeze(classifier, freeze)
    return classifier


def values(classifier, tensor):
    return keras.Model(classifier.model.input, tensor).predict(IMAGES, verbose=0)


@pytest.mark.parametrize("backbone", ["mobilenet_v2", "vgg16", "xception", "efficientnet_b0"])
def test_every_weight_that_learns_has_a_finite_share_of_a_shape_that_fits(backbone):
    classifier = network(backbone)
    shares = measure_layer_rates(classifier, IMAGES)
    layers = [layer for layer in classifier.backbone_layers() if layer.trainable_weights]
    assert list(shares) == [layer.name for layer in layers]
    for layer in layers:
        for share, weight in zip(shares[layer.name], layer.trainable_weights, strict=True):
            assert np.broadcast_shapes(share.shape, weight.shape) == tuple(weight.shape)
            assert np.isfinite(share).all()
            assert (share >= 0).all()
            assert share.any()


@pytest.mark.parametrize("name", ["block_1_project", "block_5_project", "block_16_project"])
def test_a_step_with_all_inputs_moves_every_output_by_the_same_part_of_its_deviation(name):
    """Inputs are never negative there: a kernel that grows everywhere moves the output by their sum."""
    classifier = network("mobilenet_v2")
    layer = classifier.model.get_layer(name)
    share = measure_layer_rates(classifier, IMAGES)[name][0]
    before = values(classifier, layer.output)
    given = values(classifier, layer.input)
    assert given.min() >= 0
    layer.kernel.assign(layer.kernel.numpy() + 1e-3 * share)
    moved = (values(classifier, layer.output) - before).mean((0, 1, 2)) / before.std((0, 1, 2))
    wanted = 1e-3 * HEAD * classifier.head.embedding_size
    assert moved == pytest.approx(np.full_like(moved, wanted), rel=0.01)


def test_a_depthwise_step_moves_its_output_so_too():
    classifier = network("mobilenet_v2")
    layer = classifier.model.get_layer("block_4_depthwise")
    share = measure_layer_rates(classifier, IMAGES)[layer.name][0]
    before, given = values(classifier, layer.output), values(classifier, layer.input).mean((0, 1, 2))
    layer.kernel.assign(layer.kernel.numpy() + 1e-3 * share)
    deviation = before.std((0, 1, 2))
    moved = (values(classifier, layer.output) - before).mean((0, 1, 2)) / np.maximum(deviation, 1e-12)
    wanted = 1e-3 * HEAD * classifier.head.embedding_size
    heard = given > np.median(given) / 4
    assert 0 < heard.sum() < len(heard)
    # A map of ten by ten has a border of zeros on every side.
    assert moved[heard] == pytest.approx(np.full(heard.sum(), wanted), rel=0.35)
    assert (moved[~heard] <= wanted).all()


def test_what_an_output_that_never_varies_says_is_left_alone():
    classifier = network("mobilenet_v2")
    layer = classifier.model.get_layer("block_3_project")
    kernel = layer.kernel.numpy()
    kernel[..., 5] = 0
    layer.kernel.assign(kernel)
    share = measure_layer_rates(classifier, IMAGES)[layer.name][0]
    assert share[5] == 0
    assert (np.delete(share, 5) > 0).all()


def test_frozen_layers_have_none():
    assert measure_layer_rates(network("mobilenet_v2", "head"), IMAGES) == {}
    some = measure_layer_rates(network("mobilenet_v2", "most"), IMAGES)
    assert "Conv1" not in some
    assert "Conv_1" in some
