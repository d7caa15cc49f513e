"""``catseye import``: store an existing Keras classifier, with taps, exports and a card.

Its file is read as data, and nothing in it is run. Its weights go into catseye's own graph of the same network, which
is recognised by its convolutions. Around the network the layers of Keras's own guides are understood::

    augmentation -> scaling of the pixels -> network -> global average pooling -> dropout -> one dense layer
"""

import io
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np

from models.arrays import Floats
from models.errors import BadData
from models.files import sha256_of
from models.keras_config import read_config, refuse_code
from models.network.backbones import BACKBONES, Backbone, get_backbone
from models.network.classifier import LOGITS, Classifier, HeadSpec, build_classifier, split_number
from models.network.pretrained import load_weights
from models.store.store import StoredModel, check_name
from training.config import catseye_home
from training.publish.publish import exported, store_exported

Layer = Mapping[str, Any]

_HEAD = {"GlobalAveragePooling2D", "Dropout", "Dense", "Activation", "Softmax"}
_CONTAINERS = {"InputLayer", "Functional", "Model"}
_SCALING = {"Rescaling", "TrueDivide", "Subtract"}
_ONLY_IN_TRAINING = {
    "RandomFlip",
    "RandomRotation",
    "RandomZoom",
    "RandomTranslation",
    "RandomContrast",
    "RandomBrightness",
    "GaussianNoise",
}
_TO_ONE = (("Rescaling", (1 / 127.5, -1.0)),), (("TrueDivide", (127.5,)), ("Subtract", (1.0,)))
"""The two ways in which pixels are brought to [-1, 1] inside a model."""
_BROKEN = (OSError, KeyError, ValueError, TypeError, AttributeError, RecursionError, zipfile.BadZipFile)


@dataclass(frozen=True)
class KerasFile:
    """A ``.keras`` or legacy ``.h5`` file; BadData names what in it is not supported."""

    path: Path
    config: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the model's configuration; the weights stay where they are."""
        found = cls(path, read_config(path))
        try:
            _top(found.config)
            for layer in found.layers:
                str(layer["class_name"] + layer["config"]["name"])
        except _BROKEN as error:
            raise BadData(
                f"{path} holds no Keras model with its layers. Save the whole model as .keras or .h5, not its weights."
            ) from error
        refuse_code(found.config["config"], path)
        return found

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """Every layer, those of nested models included."""
        return tuple(_layers(self.config))

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        inputs = [layer["config"] for layer in self.layers if layer["class_name"] == "InputLayer"]
        settings: Mapping[str, Any] = inputs[0] if inputs else {}
        shape = settings.get("batch_shape") or settings.get("batch_input_shape")
        if not isinstance(shape, list) or len(shape) != 4 or not all(isinstance(side, int) for side in shape[1:3]):
            raise BadData(f"{self.path} does not say how large its images are. Save it with a fixed input size.")
        return shape[1], shape[2]

    def check_layers(self, classifier: Classifier) -> None:
        """BadData for a layer around the network that would change the outputs of ``classifier``."""
        scaling, dense = [], 0
        # Only EfficientNet scales pixels itself, so scaling in any other nested model was added by its author.
        nested = [] if classifier.backbone.preprocessing == "inside" else self.layers
        top = _top(self.config)
        scaling += [(e["class_name"], _numbers(e)) for e in nested if e["class_name"] in _SCALING and e not in top]
        for layer in self._around(classifier):
            kind, name = layer["class_name"], layer["config"]["name"]
            if kind in _SCALING:
                scaling.append((kind, _numbers(layer)))
                continue
            dense += kind == "Dense"
            if kind not in _HEAD or dense > 1:
                raise BadData(
                    f"{self.path} has a layer {name!r} ({kind}) beside the network, which is not supported. Its head "
                    "must be global average pooling, dropout and one dense layer."
                )
        if scaling and not (classifier.backbone.preprocessing == "tf" and _to_one(scaling)):
            raise BadData(
                f"{self.path} scales its pixels ({' and '.join(kind for kind, _ in scaling)}) otherwise than the "
                f"preprocess_input of {classifier.backbone.title}, with which its images are served. Save it without."
            )

    def head(self, classifier: Classifier) -> tuple[Floats, Floats]:
        """Kernel (features, classes) and bias (classes,) of the dense layer, whose outputs end in a softmax.

        A single output with a sigmoid is the second of two classes, beside a first whose logit is 0.
        """
        settings = [layer["config"] for layer in self._around(classifier)]
        outputs = classifier.classes
        if outputs == 2 and any(some.get("units") == 1 for some in settings):
            outputs = 1
        kernel, bias = self._dense((classifier.head.embedding_size, outputs), classifier.classes)
        # Several sigmoids are a multi-label classifier; what is served is single-label.
        last = "sigmoid" if outputs == 1 else "softmax"
        unsupported = [some["activation"] for some in settings if some.get("activation") not in (last, "linear", None)]
        if unsupported:
            raise BadData(
                f"{self.path} ends in {str(unsupported[0])[:50]}, which is not supported. For "
                f"{classifier.classes} labels, its {outputs} outputs must end in {last} or be logits."
            )
        if outputs == 1 < classifier.classes:
            return np.concatenate([np.zeros_like(kernel), kernel], 1), np.concatenate([np.zeros_like(bias), bias])
        return kernel, bias

    def _around(self, classifier: Classifier) -> Iterator[Layer]:
        """The layers that are not the network's own, without those that do nothing at inference."""
        top = _top(self.config)
        nested = any(layer["class_name"] in ("Functional", "Model") for layer in top)
        # By kind and name without number: Keras counts what has no name over all networks of a process.
        own = Counter(
            () if nested else ((type(e).__name__, split_number(e.name)[0]) for e in classifier.backbone_layers())
        )
        for layer in top:
            known = (layer["class_name"], split_number(layer["config"]["name"])[0])
            if own[known]:
                own[known] -= 1
            elif layer["class_name"] not in _CONTAINERS and not _only_in_training(layer):
                yield layer

    def _dense(self, shape: tuple[int, int], labels: int) -> tuple[Floats, Floats]:
        """Kernel and bias of the layer with that kernel's shape."""
        try:
            zipped = zipfile.is_zipfile(self.path)
            source = io.BytesIO(zipfile.ZipFile(self.path).read("model.weights.h5")) if zipped else self.path
            found: list[h5py.Group] = []

            def look(_: str, item: object) -> None:
                if isinstance(item, h5py.Dataset) and item.shape == shape:
                    found.append(item.parent)

            with h5py.File(source, "r") as file:
                file.visititems(look)
                parts = [np.asarray(part, np.float32) for part in found[0].values()]
        except (*_BROKEN, IndexError) as error:
            raise BadData(
                f"{self.path} has no dense layer from {shape[0]} features to {labels} labels. "
                "Check the number of labels."
            ) from error
        kernel = next(part for part in parts if part.shape == shape)
        bias = next((part for part in parts if part.shape == (shape[1],)), np.zeros(shape[1], np.float32))
        return kernel, bias


def read_labels(path: Path) -> tuple[str, ...]:
    """One label a line, in the order of the outputs."""
    try:
        labels = tuple(line.strip() for line in path.read_text("utf-8-sig").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise BadData(f"The labels in {path} cannot be read. Give a text file in UTF-8 with one a line.") from error
    if len(labels) < 2:
        raise BadData(f"{path} holds {len(labels)} labels, and a classifier needs two. Write one a line.")
    twice = [label for label, times in Counter(labels).items() if times > 1]
    if twice:
        raise BadData(
            f"{path} holds some labels more than once: {', '.join(map(repr, twice[:5]))}. "
            "Make them different, such as 'crane (bird)' and 'crane (machine)'."
        )
    return labels


def import_keras(path: Path, name: str, labels: tuple[str, ...], backbone: str | None = None) -> StoredModel:
    """Store the classifier in a ``.keras`` or legacy ``.h5`` file; BadData names what in it is not supported.

    Its network is recognised, or given as ``backbone``.
    """
    check_name(name)
    file = KerasFile.read(path)
    classifier = recognise(file, backbone, len(labels))
    file.check_layers(classifier)
    provenance = load_weights(classifier, str(path))
    classifier.model.get_layer(LOGITS).set_weights(file.head(classifier))
    folder = catseye_home() / "imports" / sha256_of(path)[:16]
    facts = {"name": name, "labels": labels, "weights": provenance, "settings": {"imported": path.name}}
    with exported(classifier, folder, **facts) as model:
        return store_exported(model)


def recognise(file: KerasFile, backbone: str | None, classes: int) -> Classifier:
    """The network whose convolutions are those of the file, one after the other."""
    size, wanted = file.input_size, convolutions(file.layers)
    for row in [get_backbone(backbone)] if backbone else _relatives(file.layers):
        classifier = build_classifier(row, classes, input_size=size, head=HeadSpec(dropout=0.0))
        own = (
            {"class_name": type(layer).__name__, "config": layer.get_config()} for layer in classifier.backbone_layers()
        )
        if convolutions(own) == wanted:
            return classifier
    if backbone:
        raise BadData(
            f"{file.path} does not contain the network {backbone}. Leave --backbone out to have the network recognised."
        )
    raise BadData(
        f"{file.path} contains no network that catseye supports. `catseye backbones` lists them, in their usual widths."
    )


def _relatives(layers: Iterable[Layer]) -> Iterator[Backbone]:
    """The networks whose marked layers have names that occur in the file, but for Keras's numbers."""
    names = {split_number(layer["config"]["name"])[0] for layer in layers}
    for row in BACKBONES.values():
        if row.pretrained and {split_number(name)[0] for name in (*row.taps, *row.freeze_points.values())} <= names:
            yield row


def convolutions(layers: Iterable[Layer]) -> list[tuple[str, object]]:
    """Kind and number of filters of every convolution, in order: by these a network is recognised."""
    return [
        (str(layer["class_name"]), layer["config"].get("filters"))
        for layer in layers
        if "Conv2D" in layer["class_name"]
    ]


def _top(config: Mapping[str, Any]) -> list[Layer]:
    """The layers that a model names itself."""
    return list(config["config"]["layers"])


def _layers(config: Mapping[str, Any]) -> Iterator[Layer]:
    for layer in config.get("config", {}).get("layers", ()):
        yield layer
        yield from _layers(layer)


def _only_in_training(layer: Layer) -> bool:
    """Whether it leaves images as they are at inference: augmentation layers, and a sequence of them."""
    if layer["class_name"] == "Sequential":
        return all(inner["class_name"] in {"InputLayer", *_ONLY_IN_TRAINING} for inner in _layers(layer))
    return layer["class_name"] in _ONLY_IN_TRAINING


def _numbers(layer: Layer) -> tuple[object, ...]:
    """What it scales by: a Rescaling has it in its settings, an operation in its call."""
    if layer["class_name"] == "Rescaling":
        return layer["config"].get("scale"), layer["config"].get("offset")
    try:
        return tuple(layer["inbound_nodes"][0]["args"][1:])
    except (KeyError, IndexError, TypeError):
        return ()


def _to_one(scaling: Iterable[tuple[str, tuple[object, ...]]]) -> bool:
    """Whether pixels end in [-1, 1]."""
    found = tuple(scaling)
    for way in _TO_ONE:
        if [kind for kind, _ in found] == [kind for kind, _ in way]:
            numbers = [number for _, some in found for number in some]
            wanted = [number for _, some in way for number in some]
            return len(numbers) == len(wanted) and all(
                isinstance(number, int | float) and np.isclose(number, right)
                for number, right in zip(numbers, wanted, strict=True)
            )
    return False
