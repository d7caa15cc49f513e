"""Backbone and head as one flat Keras graph with named taps.

Flat, because the layers of a nested backbone cannot be reached from outside ("graph disconnected"), and
because every BatchNormalization of the backbone is frozen (``trainable = False``) layer by layer::

    image (uint8) -> preprocess_* -> Keras's own layers -> head_pool_* -> embedding -> head_* -> logits
"""

import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import keras
import numpy as np

from models.arrays import Floats
from models.card import Card, Head, Pool, Tap
from models.errors import BadParameter, StoreError
from models.network.backbones import Backbone, get_backbone
from models.network.preprocessing import IMAGENET_MEAN, IMAGENET_STD, preprocess, set_normalization

IMAGE, EMBEDDING, LOGITS = "image", "embedding", "logits"
_BATCH_NORM, _DROPOUT = "head_batch_norm", "head_dropout"
_MAX_SIZE = 2048


@dataclass(frozen=True, kw_only=True)
class HeadSpec:
    """The new layers on top of the backbone."""

    depths: Literal["last", "several"] = "last"
    """Average the final map only, or the maps of all taps, which frozen features gain from."""
    dropout: float = 0.2
    l2: float = 0.0
    """Weight of the squared kernel in the loss."""
    batch_norm: bool = False
    """Normalise the embedding first; unlike the backbone's, this layer is trained."""


DEFAULT_HEAD = HeadSpec()


@dataclass
class Classifier:
    """A network that turns uint8 images (batch, height, width, 3) into logits (batch, classes)."""

    model: keras.Model
    backbone: Backbone
    taps: tuple[Tap, ...]
    head: Head

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        height, width = self.model.input_shape[1:3]
        return int(height), int(width)

    @property
    def classes(self) -> int:
        """Number of labels."""
        return int(self.model.output_shape[-1])

    def backbone_layers(self) -> list[keras.layers.Layer]:
        """The backbone's own layers in Keras's order, pixels to final map; neither preprocessing nor head."""
        # The MLP has no maps: its last hidden layer goes into the embedding.
        final = self.model.get_layer(self.taps[-1].name).output if self.taps else self.model.get_layer(EMBEDDING).input
        return [
            layer
            for layer in keras.Model(self.model.input, final).layers
            if not isinstance(layer, keras.layers.InputLayer) and not layer.name.startswith("preprocess_")
        ]

    def head_layers(self) -> list[keras.layers.Layer]:
        """The layers from the embedding to the logits, in order."""
        present = {layer.name: layer for layer in self.model.layers}
        return [present[name] for name in (_BATCH_NORM, _DROPOUT, LOGITS) if name in present]

    def output_model(self) -> keras.Model:
        """Image -> dict of ``logits``, ``embedding`` and every map: ``tap_0`` ... ``tap_n``."""
        outputs = {LOGITS: self.model.output, EMBEDDING: self.model.get_layer(EMBEDDING).output}
        for tap in self.taps:
            outputs[f"tap_{tap.index}"] = self.model.get_layer(tap.name).output
        return keras.Model(self.model.input, outputs, name="outputs")


def build_classifier(
    backbone: str | Backbone,
    classes: int,
    *,
    input_size: int | tuple[int, int] | None = None,
    head: HeadSpec = DEFAULT_HEAD,
    seed: int = 0,
) -> Classifier:
    """A classifier with random weights, the same ones for the same ``seed`` (which seeds all of Keras).

    Raises BadParameter for an unknown backbone, fewer than two classes, or a size out of range.
    """
    row = get_backbone(backbone) if isinstance(backbone, str) else backbone
    height, width = _checked_size(row, input_size)
    if classes < 2:
        raise BadParameter(f"A classifier needs at least 2 classes, not {classes}. Add a class.")
    keras.utils.set_random_seed(seed)
    image = keras.Input((height, width, 3), dtype="uint8", name=IMAGE)
    base = _build_base(row, image)
    tensors = [base.get_layer(name).output for name in row.taps] or [base.output]
    embedding, pools = _embedding(tensors, head.depths) if row.taps else (_named(base.output), ())
    model = keras.Model(image, _logits(embedding, classes, head), name=row.name)
    taps = read_taps(model, row.taps)
    return Classifier(model, row, taps, Head(pools=pools, embedding_size=embedding.shape[-1]))


def head_arrays(classifier: Classifier) -> tuple[Floats, Floats]:
    """The head as arithmetic: kernel (embedding_size, classes) and bias (classes,), normalisation folded in.

    While predicting, ``logits == embedding @ kernel + bias``.
    """
    layers = {layer.name: layer for layer in classifier.head_layers()}
    kernel, bias = (np.asarray(values, np.float64) for values in layers[LOGITS].get_weights())
    if _BATCH_NORM in layers:
        norm = layers[_BATCH_NORM]
        gamma, beta, mean, variance = (np.asarray(values, np.float64) for values in norm.get_weights())
        scale = gamma / np.sqrt(variance + norm.epsilon)
        bias = bias + (beta - mean * scale) @ kernel
        kernel = kernel * scale[:, None]
    return kernel.astype(np.float32), bias.astype(np.float32)


def load_classifier(path: Path, card: Card) -> Classifier:
    """The classifier in a ``.keras`` file, checked against its card; no code of the file is run.

    Raises StoreError where the file cannot be read or is another network than the card says.
    """
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises whatever its readers of zip, JSON and HDF5 raise.
        raise StoreError(
            f"{path.name} of model {card.name!r} cannot be loaded ({_first_line(error)}). "
            "Train or import the model again."
        ) from error
    row = get_backbone(card.backbone)
    _check_against(model, card)
    freeze_statistics(model)
    return Classifier(model, row, card.taps, card.head)


def read_taps(model: keras.Model, names: Sequence[str]) -> tuple[Tap, ...]:
    """Name, shape and stride of the maps of the layers ``names`` of a flat model."""
    strides = dict(_strides(model))
    shapes = {name: model.get_layer(name).output.shape[1:] for name in names}
    return tuple(
        Tap(index=index, name=name, shape=(shape[0], shape[1], shape[2]), stride=strides[name])
        for index, (name, shape) in enumerate(shapes.items())
    )


def freeze_statistics(model: keras.Model) -> None:
    """Freeze every BatchNormalization, except the head's own."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization) and layer.name != _BATCH_NORM:
            layer.trainable = False


def split_number(name: str) -> tuple[str, int]:
    """Keras's automatic names split: "conv2d_12" -> ("conv2d", 12); "conv2d" -> ("conv2d", 0)."""
    prefix, _, number = name.rpartition("_")
    return (prefix, int(number)) if prefix and number.isdecimal() else (name, 0)


def _build_base(row: Backbone, image: keras.KerasTensor) -> keras.Model:
    module, _, function = row.builder.rpartition(".")
    builder = getattr(importlib.import_module(module), function)
    base = builder(include_top=False, weights=None, input_tensor=preprocess(image, row.preprocessing))
    _renumber(base)
    freeze_statistics(base)
    if row.preprocessing == "inside":
        set_normalization(base, np.asarray(IMAGENET_MEAN), np.square(IMAGENET_STD))
    return base


def _renumber(model: keras.Model) -> None:
    """Number the layers that Keras named by itself from 0, as in a fresh process.

    Keras counts over all models of a process, so the second InceptionV3 would start at ``conv2d_94``.
    """
    numbered: dict[str, list[tuple[int, keras.layers.Layer]]] = {}
    for layer in model.layers:
        prefix, number = split_number(layer.name)
        if prefix.replace("_", "") == type(layer).__name__.lower():
            numbered.setdefault(prefix, []).append((number, layer))
    for prefix, layers in numbered.items():
        first = min(number for number, _ in layers)
        for number, layer in layers:
            layer.name = f"{prefix}_{number - first}" if number > first else prefix


def _embedding(
    maps: Sequence[keras.KerasTensor], depths: Literal["last", "several"]
) -> tuple[keras.KerasTensor, tuple[Pool, ...]]:
    """Average the maps over height and width, and say which columns each one fills."""
    chosen = range(len(maps)) if depths == "several" else [len(maps) - 1]
    averages, pools, start = [], [], 0
    for index in chosen:
        average = keras.layers.GlobalAveragePooling2D(name=f"head_pool_{index}")(maps[index])
        stop = start + average.shape[-1]
        averages.append(average)
        pools.append(Pool(tap=index, start=start, stop=stop))
        start = stop
    if len(averages) == 1:
        return _named(averages[0]), tuple(pools)
    return keras.layers.Concatenate(name=EMBEDDING)(averages), tuple(pools)


def _named(tensor: keras.KerasTensor) -> keras.KerasTensor:
    return keras.layers.Activation("linear", name=EMBEDDING)(tensor)


def _logits(embedding: keras.KerasTensor, classes: int, head: HeadSpec) -> keras.KerasTensor:
    x = embedding
    if head.batch_norm:
        x = keras.layers.BatchNormalization(name=_BATCH_NORM)(x)
    if head.dropout:
        x = keras.layers.Dropout(head.dropout, name=_DROPOUT)(x)
    regularizer = keras.regularizers.L2(head.l2) if head.l2 else None
    return keras.layers.Dense(classes, kernel_regularizer=regularizer, name=LOGITS)(x)


def _strides(model: keras.Model) -> Iterator[tuple[str, int]]:
    """(layer, input pixels for each step of its output): the layers' strides multiplied along the graph."""
    reached: dict[int, int] = {}
    for layer in model.layers:
        before = [reached.get(id(tensor), 1) for tensor in keras.tree.flatten(layer.input)]
        own = keras.tree.flatten(getattr(layer, "strides", 1))[0]
        reached[id(layer.output)] = max(before, default=1) * own
        yield layer.name, reached[id(layer.output)]


def _checked_size(row: Backbone, size: int | tuple[int, int] | None) -> tuple[int, int]:
    height, width = size if isinstance(size, tuple) else (size or row.input_size,) * 2
    if not all(row.min_size <= side <= _MAX_SIZE for side in (height, width)):
        raise BadParameter(
            f"{row.title} takes images of {row.min_size} to {_MAX_SIZE} pixels a side, not {height}x{width}. "
            f"Its usual size is {row.input_size}."
        )
    return height, width


def _check_against(model: keras.Model, card: Card) -> None:
    """Raise StoreError unless the network is the one that the card describes."""
    try:
        found = {
            "input size": tuple(model.input_shape[1:3]) == card.input_size,
            "labels": model.get_layer(LOGITS).output.shape[-1] == len(card.labels),
            "embedding": model.get_layer(EMBEDDING).output.shape[-1] == card.head.embedding_size,
            "taps": all(tuple(model.get_layer(tap.name).output.shape[1:]) == tap.shape for tap in card.taps),
        }
    except (ValueError, AttributeError, TypeError) as error:
        raise StoreError(
            f"The network of model {card.name!r} is no catseye classifier ({_first_line(error)}). "
            "Train or import the model again."
        ) from error
    wrong = [what for what, agrees in found.items() if not agrees]
    if wrong:
        raise StoreError(
            f"The network and the card of model {card.name!r} disagree about: {', '.join(wrong)}. "
            "Train or import the model again."
        )


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
