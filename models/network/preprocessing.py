"""Preprocessing as layers of the network, from uint8 RGB.

The same arithmetic as ``keras.applications.*.preprocess_input``, in built-in Keras layers, which save, load
and export. The layers are called ``preprocess_*`` and are never trained.
"""

import keras
import numpy as np

from models.network.backbones import Preprocessing

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Per channel of RGB in [0, 1]: ``torch`` and EfficientNet."""
IMAGENET_MEAN_BGR = (103.939, 116.779, 123.68)
"""Per channel of BGR in [0, 255]: ``caffe``."""


def preprocess(image: keras.KerasTensor, how: Preprocessing) -> keras.KerasTensor:
    """Layers from ``image``, uint8 (batch, height, width, 3), to what the network was trained on, float32."""
    if how == "inside":
        return image
    if how == "tf":
        return keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="preprocess_scale")(image)
    if how == "torch":
        scale = [1 / (255 * deviation) for deviation in IMAGENET_STD]
        offset = [-mean / deviation for mean, deviation in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)]
        return keras.layers.Rescaling(scale, offset=offset, name="preprocess_scale")(image)
    pixels = keras.layers.Rescaling(1.0, name="preprocess_scale")(image)
    return pixels if how == "none" else _reversed_channels(pixels)


def _reversed_channels(pixels: keras.KerasTensor) -> keras.KerasTensor:
    """RGB -> BGR less the mean, as a fixed 1x1 convolution, which every runtime supports."""
    layer = keras.layers.Conv2D(3, 1, name="preprocess_bgr", trainable=False)
    result = layer(pixels)
    swap = np.eye(3, dtype=np.float32)[::-1].reshape(1, 1, 3, 3)
    layer.set_weights([swap, -np.asarray(IMAGENET_MEAN_BGR, np.float32)])
    return result


def set_normalization(model: keras.Model, mean: np.ndarray, variance: np.ndarray) -> None:
    """Give EfficientNet's own Normalization layer its statistics, each (3,), for pixels in [0, 1]."""
    layer = normalization_layer(model)
    count = layer.get_weights()[2]
    layer.set_weights([np.asarray(mean, np.float32), np.asarray(variance, np.float32), count])
    # The layer computes with constants that it derives from its weights.
    layer.finalize_state()


def normalization_layer(model: keras.Model) -> keras.layers.Normalization:
    """EfficientNet's own Normalization layer."""
    return next(layer for layer in model.layers if isinstance(layer, keras.layers.Normalization))
