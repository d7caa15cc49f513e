"""The frozen part of a classifier's network: its outputs do not change in training, so they are computed once.

The layers above it are trained. While only the head is trained, the frozen trunk ends at the embedding.
"""

import hashlib
from dataclasses import dataclass

import keras
import numpy as np
from numpy.typing import NDArray

from models.network.classifier import EMBEDDING, Classifier

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class FrozenTrunk:
    """The layers from the input up to ``outputs``, the tensors that the trained layers take."""

    classifier: Classifier
    outputs: tuple[keras.KerasTensor, ...]

    @property
    def is_empty(self) -> bool:
        """True where nothing is frozen, so that the trained layers take whole images."""
        return self.outputs[0] is self.classifier.model.input

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shape of every output for one image."""
        return tuple(tuple(int(side) for side in tensor.shape[1:]) for tensor in self.outputs)

    @property
    def width(self) -> int:
        """Numbers in all outputs of one image."""
        return sum(int(np.prod(shape)) for shape in self.shapes)

    def frozen_model(self) -> keras.Model:
        """Images -> one flat row (batch, width) of all outputs."""
        rows = [keras.layers.Flatten(name=f"row_{i}")(tensor) for i, tensor in enumerate(self.outputs)]
        row = keras.layers.Concatenate(name="row")(rows) if len(rows) > 1 else rows[0]
        return keras.Model(self.classifier.model.input, row, name="frozen")

    def trained_model(self) -> keras.Model:
        """Outputs of the trunk -> embedding."""
        embedding = self.classifier.model.get_layer(EMBEDDING).output
        if self.outputs[0] is embedding:
            same = keras.Input(self.shapes[0], name="same")
            return keras.Model([same], keras.layers.Activation("linear")(same), name="learning")
        return keras.Model(list(self.outputs), embedding, name="learning")

    def unpack(self, rows: Floats) -> list[Floats]:
        """Flat rows (batch, width) -> one array for every output."""
        parts, start = [], 0
        for shape in self.shapes:
            stop = start + int(np.prod(shape))
            parts.append(np.asarray(rows[:, start:stop], np.float32).reshape(-1, *shape))
            start = stop
        return parts

    def key(self) -> str:
        """Hash of the input size, the layers and the weights."""
        frozen, digest = self.frozen_model(), hashlib.sha256()
        digest.update(repr((self.classifier.input_size, self.shapes)).encode())
        for layer in frozen.layers:
            digest.update(f"{type(layer).__name__} {layer.name}".encode())
            for values in layer.get_weights():
                digest.update(np.ascontiguousarray(values).tobytes())
        return digest.hexdigest()


def base_trunk(classifier: Classifier) -> FrozenTrunk:
    """The whole base, up to the embedding: for training the head alone."""
    return FrozenTrunk(classifier, (classifier.model.get_layer(EMBEDDING).output,))


def empty_trunk(classifier: Classifier) -> FrozenTrunk:
    """Nothing: every layer runs in every step."""
    return FrozenTrunk(classifier, (classifier.model.input,))


def frozen_trunk(classifier: Classifier) -> FrozenTrunk:
    """All layers below those of the base that are ``trainable`` now."""
    model = classifier.model
    trained: set[int] = set()
    pixels: set[int] = {id(model.input)}
    """Frozen tensors that are only preprocessed images."""
    outputs: dict[int, keras.KerasTensor] = {}
    for layer in model.layers:
        inputs = keras.tree.flatten(layer.input)
        results = {id(tensor) for tensor in keras.tree.flatten(layer.output)}
        if bool(layer.trainable_weights) or any(id(tensor) in trained for tensor in inputs):
            trained |= results
            outputs.update({id(tensor): tensor for tensor in inputs if id(tensor) not in trained})
        elif layer.name.startswith("preprocess_") and all(id(tensor) in pixels for tensor in inputs):
            pixels |= results
        if layer.name == EMBEDDING:
            break
    if not outputs:
        return base_trunk(classifier)
    if any(key in pixels for key in outputs):
        return empty_trunk(classifier)
    return FrozenTrunk(classifier, tuple(outputs.values()))
