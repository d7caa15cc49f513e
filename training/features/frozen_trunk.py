"""Cuts a classifier where training begins, so that what stands still is computed once.

Below the cut nothing changes during training, so its outputs (the *activations*) can be kept; above it are
the layers that learn. With everything frozen but the head, the cut is the embedding itself.
"""

import hashlib
from dataclasses import dataclass

import keras
import numpy as np
from numpy.typing import NDArray

from models.network.classifier import EMBEDDING, Classifier

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Cut:
    """The tensors that cross from the frozen layers to those that learn."""

    classifier: Classifier
    crossing: tuple[keras.KerasTensor, ...]

    @property
    def at_pixels(self) -> bool:
        """True where whole images cross, since nothing stands still."""
        return self.crossing[0] is self.classifier.model.input

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shape of one image's part of every crossing tensor."""
        return tuple(tuple(int(side) for side in tensor.shape[1:]) for tensor in self.crossing)

    @property
    def width(self) -> int:
        """Numbers that one image leaves at the cut."""
        return sum(int(np.prod(shape)) for shape in self.shapes)

    def lower(self) -> keras.Model:
        """Images -> one flat row (batch, width) of all crossing tensors."""
        rows = [keras.layers.Flatten(name=f"row_{i}")(tensor) for i, tensor in enumerate(self.crossing)]
        row = keras.layers.Concatenate(name="row")(rows) if len(rows) > 1 else rows[0]
        return keras.Model(self.classifier.model.input, row, name="frozen")

    def upper(self) -> keras.Model:
        """Crossing tensors -> embedding."""
        if self.crossing[0] is self.classifier.model.get_layer(EMBEDDING).output:
            same = keras.Input(self.shapes[0], name="same")
            return keras.Model([same], keras.layers.Activation("linear")(same), name="learning")
        return keras.Model(list(self.crossing), self.classifier.model.get_layer(EMBEDDING).output, name="learning")

    def unpack(self, rows: Floats) -> list[Floats]:
        """Flat rows (batch, width) -> one array for every crossing tensor."""
        parts, start = [], 0
        for shape in self.shapes:
            stop = start + int(np.prod(shape))
            parts.append(np.asarray(rows[:, start:stop], np.float32).reshape(-1, *shape))
            start = stop
        return parts

    def key(self) -> str:
        """Hash of everything below the cut: size, layers and weights."""
        lower, digest = self.lower(), hashlib.sha256()
        digest.update(repr((self.classifier.input_size, self.shapes)).encode())
        for layer in lower.layers:
            digest.update(f"{type(layer).__name__} {layer.name}".encode())
            for values in layer.get_weights():
                digest.update(np.ascontiguousarray(values).tobytes())
        return digest.hexdigest()


def cut_at_embedding(classifier: Classifier) -> Cut:
    """The cut of phase 1: the whole base stands still."""
    return Cut(classifier, (classifier.model.get_layer(EMBEDDING).output,))


def cut_at_pixels(classifier: Classifier) -> Cut:
    """No cut: every layer runs at every step."""
    return Cut(classifier, (classifier.model.input,))


def cut_where_training_begins(classifier: Classifier) -> Cut:
    """The cut of phase 2: below every layer of the base that is ``trainable`` now."""
    model = classifier.model
    learning: set[int] = set()
    known: set[int] = {id(model.input)}
    """Tensors that stand still and hold no more than the pixels do."""
    crossing: dict[int, keras.KerasTensor] = {}
    for layer in model.layers:
        inputs = keras.tree.flatten(layer.input)
        outputs = {id(tensor) for tensor in keras.tree.flatten(layer.output)}
        if bool(layer.trainable_weights) or any(id(tensor) in learning for tensor in inputs):
            learning |= outputs
            crossing.update({id(tensor): tensor for tensor in inputs if id(tensor) not in learning})
        elif layer.name.startswith("preprocess_") and all(id(tensor) in known for tensor in inputs):
            known |= outputs
        if layer.name == EMBEDDING:
            break
    if not crossing:
        return cut_at_embedding(classifier)
    if any(key in known for key in crossing):
        return cut_at_pixels(classifier)
    return Cut(classifier, tuple(crossing.values()))
