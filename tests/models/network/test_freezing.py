"""The four freeze strategies: what is trained, what stays, and that batch statistics never move."""

from typing import cast

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from models.errors import BadParameter
from models.network.classifier import Classifier, HeadSpec, build_classifier
from models.network.freezing import FREEZES, Freeze, apply_freeze
from tests.support.networks import images

Weights = dict[str, NDArray[np.float32]]


def is_norm(layer: keras.layers.Layer) -> bool:
    return isinstance(layer, keras.layers.BatchNormalization)


def weights(classifier: Classifier) -> Weights:
    return {variable.path: variable.numpy().copy() for variable in classifier.model.weights}


def train(classifier: Classifier, steps: int = 2) -> None:
    """A few steps at a rate that would move any statistics that were free to move."""
    model = classifier.model
    model.compile(
        optimizer=keras.optimizers.Adam(1e-2),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        run_eagerly=True,
    )
    for step in range(steps):
        model.train_on_batch(images(4, classifier.input_size[0], seed=step), np.asarray([0, 1, 2, 0]))


def lively(name: str, head: HeadSpec) -> Classifier:
    """Random weights, and statistics that are not the fresh ones, as after training."""
    classifier = build_classifier(name, 3, input_size=48, head=head, seed=3)
    random = np.random.default_rng(0)
    for layer in classifier.backbone_layers():
        if is_norm(layer):
            variables = {variable.name: variable for variable in layer.weights}
            variables["moving_mean"].assign(random.normal(scale=0.1, size=variables["moving_mean"].shape))
            variables["moving_variance"].assign(random.uniform(0.5, 1.5, variables["moving_variance"].shape))
    return classifier


@pytest.mark.parametrize("name", ["mobilenet_v2", "cnn", "mlp"])
@pytest.mark.parametrize("strategy", FREEZES)
def test_training_changes_what_is_unfrozen_and_no_batch_statistics(name: str, strategy: Freeze) -> None:
    classifier = lively(name, HeadSpec(depths="several"))
    norms = [layer for layer in classifier.backbone_layers() if is_norm(layer)]
    statistics = {variable.path for layer in norms for variable in layer.weights}
    assert len(statistics) == (52 * 4 if name == "mobilenet_v2" else 0)
    plan = apply_freeze(classifier, strategy)
    free = {variable.path for variable in classifier.model.trainable_weights}
    before = weights(classifier)
    train(classifier)
    after = weights(classifier)
    changed = {path for path in before if not np.array_equal(before[path], after[path])}
    assert changed == free
    assert not changed & statistics
    assert plan.trainable_parameters == sum(before[path].size for path in free)
    assert plan.strategy == strategy


def test_the_same_training_would_move_statistics_that_are_not_frozen() -> None:
    """The control: the test above can fail."""
    classifier = lively("mobilenet_v2", HeadSpec())
    apply_freeze(classifier, "none")
    norm = classifier.model.get_layer("bn_Conv1")
    norm.trainable = True
    before = norm.get_weights()
    train(classifier)
    assert not any(np.array_equal(one, other) for one, other in zip(norm.get_weights(), before, strict=True))


def test_the_heads_own_normalisation_is_new_and_trained() -> None:
    classifier = lively("mobilenet_v2", HeadSpec(batch_norm=True))
    plan = apply_freeze(classifier, "head")
    assert plan.first_trained_layer == "head_batch_norm"
    assert plan.trainable_layers == 2
    before = weights(classifier)
    train(classifier)
    after = weights(classifier)
    changed = {path for path in before if not np.array_equal(before[path], after[path])}
    assert {path.partition("/")[0] for path in changed} == {"head_batch_norm", "logits"}
    assert len(changed) == 6


def test_a_plan_names_where_training_begins_and_the_ways_nest() -> None:
    classifier = build_classifier("mobilenet_v2", 3, input_size=32)
    plans = [apply_freeze(classifier, strategy) for strategy in FREEZES]
    assert [plan.first_trained_layer for plan in plans] == ["logits", "block_13_expand", "block_6_expand", None]
    parameters = [plan.trainable_parameters for plan in plans]
    layers = [plan.trainable_layers for plan in plans]
    assert parameters == sorted(parameters)
    assert layers == sorted(layers)
    assert plans[0].trainable_parameters == 1280 * 3 + 3


def test_a_strategy_can_follow_another() -> None:
    classifier = build_classifier("mobilenet_v2", 3, input_size=32)
    first = apply_freeze(classifier, "most")
    apply_freeze(classifier, "none")
    apply_freeze(classifier, "head")
    assert apply_freeze(classifier, "most") == first


def test_a_strategy_that_does_not_exist_is_refused() -> None:
    classifier = build_classifier("cnn", 3, input_size=32)
    with pytest.raises(BadParameter, match="head, most, few, none"):
        apply_freeze(classifier, cast(Freeze, "all"))
