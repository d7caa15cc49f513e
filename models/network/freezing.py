"""How much of the pretrained network to freeze: four strategies, from the lecture's table.

======  ==================================  ========================================
name    frozen                              for (the lecture's last slide)
======  ==================================  ========================================
head    all but the new layers              little data, like the pretraining data
most    all but the last stage              little data and unlike, or much and like
few     the early layers, up to stride 8    the same, with more data
none    nothing                             much data, unlike the pretraining data
======  ==================================  ========================================

The backbone's BatchNormalization layers stay frozen in every one: small batches would spoil their statistics.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import keras

from models.errors import BadParameter
from models.network.backbones import Backbone
from models.network.classifier import Classifier

Freeze = Literal["head", "most", "few", "none"]
FREEZES: tuple[Freeze, ...] = get_args(Freeze)


@dataclass(frozen=True)
class FreezePlan:
    """What a strategy trains."""

    strategy: Freeze
    first_trained_layer: str | None
    """The lowest layer that is trained; None where training begins at the pixels."""
    trainable_layers: int
    """Layers with weights that training changes, the head's included."""
    trainable_parameters: int


def apply_freeze(classifier: Classifier, strategy: Freeze) -> FreezePlan:
    """Freeze and unfreeze the layers for ``strategy``; compile the model afterwards, as Keras asks.

    Raises BadParameter for a strategy that is none of the four.
    """
    if strategy not in FREEZES:
        raise BadParameter(f"There is no freeze strategy called {strategy!r}. Choose one of: {', '.join(FREEZES)}.")
    base, head = classifier.backbone_layers(), classifier.head_layers()
    first = _first_trained(classifier.backbone, [layer.name for layer in base], strategy)
    for index, layer in enumerate(base):
        layer.trainable = index >= first and not isinstance(layer, keras.layers.BatchNormalization)
    for layer in head:
        layer.trainable = True
    trained = [layer for layer in (*base, *head) if layer.trainable_weights]
    return FreezePlan(
        strategy=strategy,
        first_trained_layer=None if strategy == "none" else trained[0].name,
        trainable_layers=len(trained),
        trainable_parameters=sum(
            math.prod(variable.shape) for layer in trained for variable in layer.trainable_weights
        ),
    )


def _first_trained(backbone: Backbone, names: list[str], strategy: Freeze) -> int:
    """Index of the first backbone layer that is trained; ``len(names)`` where all are frozen."""
    if strategy == "head":
        return len(names)
    if strategy == "none":
        return 0
    return names.index(backbone.freeze_points[strategy])
