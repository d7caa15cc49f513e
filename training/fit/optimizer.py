"""Per-layer learning rates for fine-tuning, and Adam that applies them.

Adam moves every weight by about the learning rate, whatever the size of its gradient. Layers differ by orders of
magnitude in fan-in and in the size of their inputs and outputs, so with one rate a step changes some outputs by their
whole standard deviation and others hardly at all. Here a weight's rate is multiplied by the standard deviation of its
output over the sum of its inputs' sizes, both measured on training images: a step then changes every output by the
same part of its deviation. (Yang et al. 2021, "Tensor Programs V", let Adam's rate fall with the fan-in.)

With a layer decay of 0.9, each stage (the layers between two taps of the network) has 0.9 times the rate of the stage
above it (Howard and Ruder 2018 do so layer by layer).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from models.network.classifier import Classifier

Floats = NDArray[np.float32]
LayerRates = Mapping[str, tuple[Floats, ...]]
"""Layer name -> for each of its trainable weights, in the layer's order, what the learning rate is multiplied by."""
_BATCH = 8
_SMALLEST_INPUT = 0.25
"""Inputs of a depthwise convolution count as at least this part of the median input."""


@dataclass(frozen=True)
class _Statistics:
    """Statistics of a tensor on some images, by channel."""

    size: NDArray[np.float64]
    """Mean of the absolute values."""
    deviation: NDArray[np.float64]


def measure_layer_rates(classifier: Classifier, images: NDArray[np.uint8]) -> LayerRates:
    """Rates, relative to the head's, at which a step changes the outputs of all trainable layers equally.

    ``images`` (n, height, width, 3) are training images. In a step in which the head, on standardised features, can
    change the logits by x, every output of a layer can change by x of its deviations.
    """
    layers = [layer for layer in classifier.backbone_layers() if layer.trainable_weights]
    if not layers:
        return {}
    # The mean of |x| for a standard normal x is 0.8: the size of a standardised feature.
    head = math.sqrt(2 / math.pi) * classifier.head.embedding_size
    statistics = _measure(classifier, layers, images)
    return {
        layer.name: tuple((head * rate).astype(np.float32) for rate in _rates(layer, *statistics[layer.name]))
        for layer in layers
    }


def rates_by_depth(classifier: Classifier, decay: float) -> dict[str, float]:
    """Layer name -> ``decay`` to the power of the number of stages below the head, for every layer of the base."""
    taps = {tap.name for tap in classifier.taps}
    rate, rates = decay, {}
    for layer in reversed(classifier.backbone_layers()):
        # The last tap is the end of the base and no stage lies above it.
        if layer.name in taps and layer.name != classifier.taps[-1].name:
            rate *= decay
        rates[layer.name] = rate
    return rates


class LayerwiseAdam(keras.optimizers.Adam):  # type: ignore[misc]  # Keras has no types
    """Adam with a factor of the learning rate for each variable. Scaling gradients instead has no effect on Adam."""

    def __init__(self, learning_rate: Any, factors: Sequence[Any], **options: Any) -> None:
        super().__init__(learning_rate, **options)
        self._factors = tuple(factors)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """One step of one variable."""
        factor = self._factors[self._get_variable_index(variable)]
        super().update_step(gradient, variable, learning_rate * factor)


def optimizer(
    model: keras.Model, learning_rate: Any, rates: LayerRates, *, clip_norm: float = 0.0, replicas: int = 1
) -> keras.optimizers.Optimizer:
    """Adam for the model's trainable variables; layers that ``rates`` does not name have the whole learning rate.

    Gradients are clipped to the global norm ``clip_norm``; 0 does not clip. Each of several ``replicas`` clips its own
    gradients before they are summed, so it has that part of the norm.
    """
    options = {"global_clipnorm": clip_norm / replicas} if clip_norm else {}
    if not rates:
        return keras.optimizers.Adam(learning_rate, **options)
    factor_of = {
        id(variable): factor
        for layer in model.layers
        if layer.name in rates
        for variable, factor in zip(layer.trainable_variables, rates[layer.name], strict=True)
    }
    return LayerwiseAdam(learning_rate, [factor_of.get(id(v), 1.0) for v in model.trainable_variables], **options)


def _measure(
    classifier: Classifier, layers: Sequence[keras.layers.Layer], images: NDArray[np.uint8]
) -> dict[str, list[_Statistics]]:
    """Layer name -> the statistics of its ``_tensors``."""
    tensors = [(layer.name, tensor) for layer in layers for tensor in _tensors(layer)]
    moments = [moment for _, tensor in tensors for moment in _moments(tensor)]
    results = keras.Model(classifier.model.input, moments).predict(images, batch_size=_BATCH, verbose=0)
    rows = [np.asarray(some, np.float64) for some in results]
    statistics: dict[str, list[_Statistics]] = {}
    for (name, _), sizes, means, variances in zip(tensors, rows[::3], rows[1::3], rows[2::3], strict=True):
        deviation = np.sqrt(variances.mean(0) + means.var(0))
        statistics.setdefault(name, []).append(_Statistics(sizes.mean(0), deviation))
    return statistics


def _tensors(layer: keras.layers.Layer) -> list[keras.KerasTensor]:
    """Input and output of a layer; for a separable convolution also the tensor between its two parts."""
    if not isinstance(layer, keras.layers.SeparableConv2D):
        return [layer.input, layer.output]
    between = keras.ops.depthwise_conv(
        layer.input, layer.depthwise_kernel.value, strides=layer.strides, padding=layer.padding
    )
    return [layer.input, between, layer.output]


def _moments(tensor: keras.KerasTensor) -> list[keras.KerasTensor]:
    """For every image and channel the mean of |x|, and mean and variance of x: (batch, channels) each."""
    places = tuple(range(1, len(tensor.shape) - 1))
    mean = keras.ops.mean(tensor, axis=places, keepdims=True)
    # The mean of the squares less the square of the mean would lose small variances to rounding.
    square = keras.ops.square(tensor - mean)
    return [keras.ops.mean(some, axis=places) for some in (keras.ops.abs(tensor), tensor, square)]


def _rates(layer: keras.layers.Layer, *statistics: _Statistics) -> list[NDArray[np.float64]]:
    """For each of the layer's weights the step that changes its output by one deviation."""
    inputs, outputs = statistics[0], statistics[-1]
    if isinstance(layer, keras.layers.SeparableConv2D):
        between = statistics[1]
        rates = [_depthwise(layer.depthwise_kernel, inputs, between), _dense(layer.pointwise_kernel, between, outputs)]
    elif isinstance(layer, keras.layers.DepthwiseConv2D):
        rates = [_depthwise(layer.kernel, inputs, outputs)]
    else:
        rates = [_dense(layer.kernel, inputs, outputs)]
    return rates + [outputs.deviation] * (len(layer.trainable_weights) - len(rates))


def _dense(kernel: keras.Variable, inputs: _Statistics, outputs: _Statistics) -> NDArray[np.float64]:
    """For a kernel (..., inputs, outputs): (outputs,)."""
    total = math.prod(kernel.shape[:-2]) * inputs.size.sum()
    rate: NDArray[np.float64] = outputs.deviation / max(total, np.finfo(np.float32).tiny)
    return rate


def _depthwise(kernel: keras.Variable, inputs: _Statistics, outputs: _Statistics) -> NDArray[np.float64]:
    """For a kernel (height, width, inputs, multiplier): (inputs, multiplier)."""
    channels, multiplier = kernel.shape[-2:]
    # The rate of an input that is nearly always zero would have no bound.
    smallest = max(_SMALLEST_INPUT * float(np.median(inputs.size)), float(np.finfo(np.float32).tiny))
    size = np.maximum(inputs.size, smallest)
    rate: NDArray[np.float64] = outputs.deviation.reshape(channels, multiplier) / (
        math.prod(kernel.shape[:2]) * size[:, None]
    )
    return rate
