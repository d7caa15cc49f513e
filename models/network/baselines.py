"""The two baselines that the pretrained networks are compared with, without pretrained weights.

They take the same arguments as the functions of ``keras.applications``. Neither has batch normalisation, which
catseye never trains inside a backbone.
"""

import keras

_MLP_UNITS = (256, 128)
_CNN_FILTERS = (32, 64, 128, 256)


def mlp(*, include_top: bool = False, weights: None = None, input_tensor: keras.KerasTensor) -> keras.Model:
    """Flattened pixels, then two hidden layers: (batch, height, width, 3) -> (batch, 128)."""
    _only_untrained(include_top, weights)
    x = keras.layers.Flatten(name="flatten")(input_tensor)
    for number, units in enumerate(_MLP_UNITS, start=1):
        x = keras.layers.Dense(units, activation="relu", name=f"hidden_{number}")(x)
    return keras.Model(_source(input_tensor), x, name="mlp")


def cnn(*, include_top: bool = False, weights: None = None, input_tensor: keras.KerasTensor) -> keras.Model:
    """Four 3x3 convolutions with max pooling between: (batch, height, width, 3) -> (batch, h/8, w/8, 256)."""
    _only_untrained(include_top, weights)
    x = input_tensor
    for number, filters in enumerate(_CNN_FILTERS, start=1):
        if number > 1:
            x = keras.layers.MaxPooling2D(2, name=f"pool_{number - 1}")(x)
        x = keras.layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"conv_{number}")(x)
    return keras.Model(_source(input_tensor), x, name="cnn")


def _only_untrained(include_top: bool, weights: None) -> None:
    if include_top or weights is not None:
        raise ValueError("The baselines have neither a classifier of their own nor pretrained weights.")


def _source(tensor: keras.KerasTensor) -> list[keras.KerasTensor]:
    return list(keras.utils.get_source_inputs(tensor))
