"""Learning rates by layer: Adam with a share of the rate for each layer, or for each of its outputs.

By depth: the deeper a layer lies below the head, the less it is to change. A *stage* is what lies between two taps of
the network. With a decay of 0.9, each stage learns nine tenths as fast as the one above it, and the head as fast as
the schedule says (Howard and Ruder 2018 do so layer by layer).
"""

from collections.abc import Sequence
from typing import Any

import keras

from models.network.classifier import Classifier
from training.fit.layer_rates import Shares


def rates_by_depth(classifier: Classifier, decay: float) -> dict[str, float]:
    """Layer name -> share of the learning rate, for every layer of the base; the head has all of it."""
    taps = {tap.name for tap in classifier.taps}
    share, shares = decay, {}
    for layer in reversed(classifier.backbone_layers()):
        # The last tap is the base's own end and no stage lies above it.
        if layer.name in taps and layer.name != classifier.taps[-1].name:
            share *= decay
        shares[layer.name] = share
    return shares


class ByLayer(keras.optimizers.Adam):  # type: ignore[misc]  # Keras has no types
    """Adam whose step on each variable is a share of the learning rate; Adam undoes any scaling of the gradients."""

    def __init__(self, learning_rate: Any, shares: Sequence[Any], **options: Any) -> None:
        super().__init__(learning_rate, **options)
        self._shares = tuple(shares)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """One step on one variable."""
        share = self._shares[self._get_variable_index(variable)]
        super().update_step(gradient, variable, learning_rate * share)


def optimizer(
    model: keras.Model, learning_rate: Any, shares: Shares, *, clip_norm: float = 0.0, replicas: int = 1
) -> keras.optimizers.Optimizer:
    """Adam for the model's variables that learn; layers that ``shares`` does not name have all of the rate.

    From ``clip_norm`` on, the gradient of a step is shortened, all variables together; 0 leaves it as it is. Each of
    several ``replicas`` shortens its own before they are summed, so it has that part of the norm.
    """
    options = {"global_clipnorm": clip_norm / replicas} if clip_norm else {}
    if not shares:
        return keras.optimizers.Adam(learning_rate, **options)
    share_of = {
        id(variable): share
        for layer in model.layers
        if layer.name in shares
        for variable, share in zip(layer.trainable_variables, shares[layer.name], strict=True)
    }
    return ByLayer(learning_rate, [share_of.get(id(v), 1.0) for v in model.trainable_variables], **options)
