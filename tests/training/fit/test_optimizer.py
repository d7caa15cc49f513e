import keras
import numpy as np
import pytest

from models.network.classifier import build_classifier
from models.network.freezing import apply_freeze
from training.fit.optimizer import LayerwiseAdam, measure_layer_rates, optimizer, rates_by_depth

TARGETS = np.eye(2, dtype=np.float32)[[0, 1, 1, 0]]


def layer_rates(classifier, decay):
    """Every weight's rate, by depth alone."""
    if decay == 1:
        return {}
    rates, layers = rates_by_depth(classifier, decay), classifier.backbone_layers()
    return {layer.name: (np.float32(rates[layer.name]),) * len(layer.trainable_weights) for layer in layers}


def moves(decay, steps=3):
    """Layer -> how far its kernel moved under a few steps of the same gradients."""
    classifier = build_classifier("cnn", 2, input_size=32)
    apply_freeze(classifier, "none")
    model = classifier.model
    kernels = {layer.name: layer.kernel for layer in model.layers if hasattr(layer, "kernel")}
    before = {name: kernel.numpy() for name, kernel in kernels.items()}
    model.compile(
        optimizer(model, 1e-3, layer_rates(classifier, decay)), keras.losses.CategoricalCrossentropy(from_logits=True)
    )
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype(np.uint8)
    for _ in range(steps):
        model.train_on_batch(images, TARGETS)
    return {name: float(np.abs(kernel.numpy() - before[name]).max()) for name, kernel in kernels.items()}


def test_rates_fall_with_each_stage_down_to_the_input():
    classifier = build_classifier("mobilenet_v2", 2, input_size=32)
    rates = rates_by_depth(classifier, 0.5)
    assert rates["out_relu"] == rates["block_16_project"] == 0.5
    assert rates["block_15_add"] == 0.25
    assert rates["Conv1"] == 0.5 ** len(classifier.taps)
    ordered = [rates[layer.name] for layer in classifier.backbone_layers()]
    assert ordered == sorted(ordered)
    assert "logits" not in rates


def test_deeper_layers_move_less():
    """Adam's first steps are as long as the learning rate, whatever the gradient: so moves show the rates."""
    even, falling = moves(1.0), moves(0.5)
    classifier = build_classifier("cnn", 2, input_size=32)
    rates = rates_by_depth(classifier, 0.5)
    assert len(set(rates.values())) > 2
    for name, moved in falling.items():
        share = rates.get(name, 1.0)
        assert moved / even[name] == pytest.approx(share, rel=0.1)


def remembered(clip_norm, decay):
    """Norm of what Adam keeps of one gradient that is far too long: a tenth of it, all variables together."""
    classifier = build_classifier("cnn", 2, input_size=32)
    apply_freeze(classifier, "none")
    model = classifier.model
    adam = optimizer(model, 1e-3, layer_rates(classifier, decay), clip_norm=clip_norm)
    model.compile(adam, keras.losses.CategoricalCrossentropy(from_logits=True))
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype(np.uint8)
    model.train_on_batch(images, TARGETS, sample_weight=np.full(4, 1e6, np.float32))
    kept = [variable.numpy() for variable in adam.variables if "momentum" in variable.path]
    assert len(kept) == len(model.trainable_variables)
    return float(np.sqrt(sum(np.square(some).sum() for some in kept)))


@pytest.mark.parametrize("decay", [1.0, 0.9])
def test_a_gradient_that_is_far_too_long_is_shortened(decay):
    assert remembered(1.0, decay) == pytest.approx(0.1, rel=1e-3)
    assert remembered(0.0, decay) > 100


def test_each_replica_clips_to_its_part_of_the_norm():
    model = build_classifier("cnn", 2, input_size=32).model
    assert optimizer(model, 1e-3, {}, clip_norm=1.0, replicas=4).global_clipnorm == 0.25
    assert optimizer(model, 1e-3, {}, clip_norm=0.0).global_clipnorm is None


def test_one_output_may_have_a_rate_of_its_own():
    classifier = build_classifier("cnn", 2, input_size=32)
    model = classifier.model
    layer = next(layer for layer in classifier.backbone_layers() if layer.trainable_weights)
    before = layer.kernel.numpy()
    of_outputs = np.ones(before.shape[-1], np.float32)
    of_outputs[:2] = 0, 0.25
    model.compile(
        optimizer(model, 1e-3, {layer.name: (of_outputs, np.float32(1))}),
        keras.losses.CategoricalCrossentropy(from_logits=True),
    )
    assert type(model.optimizer) is LayerwiseAdam
    model.train_on_batch(np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype(np.uint8), TARGETS)
    moved = np.abs(layer.kernel.numpy() - before).max(tuple(range(before.ndim - 1)))
    assert moved[0] == 0
    assert moved[1] == pytest.approx(0.25e-3, rel=0.01)
    assert moved[2:].max() == pytest.approx(1e-3, rel=0.01)


def test_without_layer_rates_it_is_adam_itself():
    model = build_classifier("cnn", 2, input_size=32).model
    assert type(optimizer(model, 1e-3, {})) is keras.optimizers.Adam


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
