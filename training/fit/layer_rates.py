"""How far one step of a layer's weights moves what the layer says, so that all layers can be moved alike.

Adam moves every weight by about the learning rate, whatever its gradient. Where hundreds of inputs that are never
negative meet in one output, and the inputs and outputs of layers differ in size by orders of magnitude, one rate moves
some outputs by their whole deviation in a step and others hardly at all; a normalisation that stands still does not
put that right. So the share of the rate that a weight has is the deviation of its output over the sum of its inputs'
sizes, both measured on training images: a step then moves each output by the same part of its deviation. (That
Adam's rate should fall with the number of inputs is from Yang et al. 2021, "Tensor Programs V".)
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import keras
import numpy as np
from numpy.typing import NDArray

from models.network.classifier import Classifier

Floats = NDArray[np.float32]
Shares = Mapping[str, tuple[Floats, ...]]
"""Layer name -> for each of its weights that learn, in the layer's order, its share of the learning rate."""
_BATCH = 8
_LEAST_INPUT = 0.25
"""Share of the middle input's size that an input of a depthwise convolution counts as at least."""


@dataclass(frozen=True)
class _Spread:
    """What a tensor holds on some images, by channel."""

    size: NDArray[np.float64]
    """Mean of the absolute values."""
    deviation: NDArray[np.float64]


def even_steps(classifier: Classifier, images: NDArray[np.uint8]) -> Shares:
    """Shares of the head's rate at which every trainable layer of the base moves as far as the logits do.

    ``images`` (n, height, width, 3) are training images. In a step in which the head, on standardised features, can
    move the logits by x, every output of a layer can move by x of its deviations.
    """
    layers = [layer for layer in classifier.backbone_layers() if layer.trainable_weights]
    if not layers:
        return {}
    # A standardised feature is 0.8 in size, as the mean of |x| for a normal x.
    head = math.sqrt(2 / math.pi) * classifier.head.embedding_size
    spreads = _measure(classifier, layers, images)
    return {
        layer.name: tuple((head * share).astype(np.float32) for share in _shares(layer, *spreads[layer.name]))
        for layer in layers
    }


def _measure(
    classifier: Classifier, layers: Sequence[keras.layers.Layer], images: NDArray[np.uint8]
) -> dict[str, list[_Spread]]:
    """Layer name -> the spreads of ``_tensors``."""
    tensors = [(layer.name, tensor) for layer in layers for tensor in _tensors(layer)]
    moments = [moment for _, tensor in tensors for moment in _moments(tensor)]
    answers = keras.Model(classifier.model.input, moments).predict(images, batch_size=_BATCH, verbose=0)
    rows = [np.asarray(some, np.float64) for some in answers]
    spreads: dict[str, list[_Spread]] = {}
    for (name, _), sizes, means, variances in zip(tensors, rows[::3], rows[1::3], rows[2::3], strict=True):
        deviation = np.sqrt(variances.mean(0) + means.var(0))
        spreads.setdefault(name, []).append(_Spread(sizes.mean(0), deviation))
    return spreads


def _tensors(layer: keras.layers.Layer) -> list[keras.KerasTensor]:
    """Input and output of a layer; for a separable convolution also what lies between its two parts."""
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
    # Not the mean of the squares less the square of the mean: what hardly varies would drown in rounding.
    square = keras.ops.square(tensor - mean)
    return [keras.ops.mean(some, axis=places) for some in (keras.ops.abs(tensor), tensor, square)]


def _shares(layer: keras.layers.Layer, *spreads: _Spread) -> list[NDArray[np.float64]]:
    """Deviations of the output for a step of 1 in each of the layer's weights, turned upside down."""
    given, said = spreads[0], spreads[-1]
    if isinstance(layer, keras.layers.SeparableConv2D):
        between = spreads[1]
        shares = [_depthwise(layer.depthwise_kernel, given, between), _dense(layer.pointwise_kernel, between, said)]
    elif isinstance(layer, keras.layers.DepthwiseConv2D):
        shares = [_depthwise(layer.kernel, given, said)]
    else:
        shares = [_dense(layer.kernel, given, said)]
    return shares + [said.deviation] * (len(layer.trainable_weights) - len(shares))


def _dense(kernel: keras.Variable, given: _Spread, said: _Spread) -> NDArray[np.float64]:
    """For a kernel (..., inputs, outputs): (outputs,)."""
    reach = math.prod(kernel.shape[:-2]) * given.size.sum()
    share: NDArray[np.float64] = said.deviation / max(reach, np.finfo(np.float32).tiny)
    return share


def _depthwise(kernel: keras.Variable, given: _Spread, said: _Spread) -> NDArray[np.float64]:
    """For a kernel (height, width, inputs, multiplier): (inputs, multiplier)."""
    inputs, multiplier = kernel.shape[-2:]
    # An input that is nearly always silent would have a share without bounds.
    least = max(_LEAST_INPUT * float(np.median(given.size)), float(np.finfo(np.float32).tiny))
    size = np.maximum(given.size, least)
    share: NDArray[np.float64] = said.deviation.reshape(inputs, multiplier) / (
        math.prod(kernel.shape[:2]) * size[:, None]
    )
    return share
