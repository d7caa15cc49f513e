"""``catseye import``: an existing Keras classifier becomes a stored one, with taps, exports and a card.

Nothing of the file is run: its layers are only read as data, and its weights go into catseye's own graph of
the same network. So a file with Lambda layers or pickled code is refused, and so is a head other than global
average pooling, dropout and one dense layer.
"""

import io
import json
import shutil
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from models import store
from models.backbone import Backbone
from models.backbones import BACKBONES, get_backbone
from models.card import Card
from models.classifier import LOGITS, Classifier, HeadSpec, build_classifier, split_number
from models.errors import BadData
from models.files import sha256_of
from models.store import StoredModel, check_name
from models.weights import load_weights
from training.config import catseye_home
from training.keep import export_files, versions

_HEAD = {"GlobalAveragePooling2D", "Dropout", "Dense", "Activation", "Softmax"}
_BROKEN = (OSError, KeyError, ValueError, TypeError, AttributeError, zipfile.BadZipFile)


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
            "Tell them apart, such as 'crane (bird)' and 'crane (machine)'."
        )
    return labels


def import_keras(path: Path, name: str, labels: tuple[str, ...], backbone: str | None = None) -> StoredModel:
    """Store the classifier in a ``.keras`` or legacy ``.h5`` file; BadData says what in it is not understood.

    The network that it is made of is recognised, or given as ``backbone``.
    """
    check_name(name)
    config = _config(path)
    layers = list(_layers(config))
    _refuse_code(path, layers)
    classifier = _network(path, layers, backbone, len(labels))
    _refuse_other_heads(path, config, classifier)
    provenance = load_weights(classifier, str(path))
    kernel, bias = _dense(path, (classifier.head.embedding_size, len(labels)))
    classifier.model.get_layer(LOGITS).set_weights([kernel, bias])
    folder = catseye_home() / "imports" / sha256_of(path)[:16]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        card = Card(
            name=name,
            labels=labels,
            backbone=classifier.backbone.name,
            input_size=classifier.input_size,
            weights=provenance,
            settings={"imported": path.name},
            taps=classifier.taps,
            head=classifier.head,
            exports=(export_files(classifier, folder),),
            parameters=classifier.model.count_params(),
            versions=versions(),
        )
        return store.save(card, lambda target: shutil.copytree(folder, target, dirs_exist_ok=True))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _config(path: Path) -> dict[str, Any]:
    """The model's configuration as data."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                text = archive.read("config.json")
        else:
            with h5py.File(path, "r") as file:
                text = file.attrs["model_config"]
        found = json.loads(text)
        found["config"]["layers"]
    except _BROKEN as error:
        raise BadData(
            f"{path} holds no Keras model with its layers. Save the whole model as .keras or .h5, not its weights."
        ) from error
    return dict(found)


def _layers(config: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every layer, those of nested models included."""
    for layer in config.get("config", {}).get("layers", ()):
        yield layer
        yield from _layers(layer)


def _refuse_code(path: Path, layers: list[dict[str, Any]]) -> None:
    for layer in layers:
        kind, module = str(layer.get("class_name")), str(layer.get("module") or "keras.layers")
        if "Lambda" in kind or layer.get("registered_name") not in (None, kind) or not module.startswith("keras"):
            raise BadData(
                f"{path} has a layer of kind {kind!r}, which holds code. Only Keras's own layers are imported; "
                "rebuild the model without it."
            )


def _network(path: Path, layers: list[dict[str, Any]], backbone: str | None, classes: int) -> Classifier:
    """The network whose convolutions are those of the file, one after the other."""
    size, wanted = _input_size(path, layers), _convolutions(layers)
    for row in [get_backbone(backbone)] if backbone else _relatives(layers):
        classifier = build_classifier(row, classes, input_size=size, head=HeadSpec(dropout=0.0))
        own = (
            {"class_name": type(layer).__name__, "config": layer.get_config()} for layer in classifier.backbone_layers()
        )
        if _convolutions(own) == wanted:
            return classifier
    if backbone:
        raise BadData(f"{path} is made of another network than {backbone}. Leave --backbone out, and it is recognised.")
    raise BadData(
        f"{path} is made of no network that catseye knows. `catseye backbones` lists those, each in its usual width."
    )


def _relatives(layers: list[dict[str, Any]]) -> Iterator[Backbone]:
    """The networks whose marked layers have names that occur in the file, but for Keras's numbers."""
    names = {split_number(str(layer["config"].get("name")))[0] for layer in layers}
    for row in BACKBONES.values():
        if row.pretrained and {split_number(name)[0] for name in (*row.taps, *row.freeze_points.values())} <= names:
            yield row


def _convolutions(layers: Iterable[dict[str, Any]]) -> list[tuple[str, object]]:
    """Kind and number of filters of every convolution, in order."""
    return [
        (str(layer["class_name"]), layer["config"].get("filters"))
        for layer in layers
        if "Conv2D" in str(layer.get("class_name"))
    ]


def _input_size(path: Path, layers: list[dict[str, Any]]) -> tuple[int, int]:
    inputs = [layer["config"] for layer in layers if layer.get("class_name") == "InputLayer"]
    settings: dict[str, Any] = inputs[0] if inputs else {}
    shape: list[Any] = settings.get("batch_shape") or settings.get("batch_input_shape") or []
    if len(shape) != 4 or not all(isinstance(side, int) for side in shape[1:3]):
        raise BadData(f"{path} does not say how large its images are. Save it with a fixed input size.")
    return shape[1], shape[2]


def _refuse_other_heads(path: Path, config: Mapping[str, Any], classifier: Classifier) -> None:
    """Besides the network there may be pooling, dropout and one dense layer."""
    own = {layer.name for layer in classifier.model.layers}
    dense = 0
    for layer in config["config"]["layers"]:
        kind, name = str(layer.get("class_name")), str(layer["config"].get("name"))
        if name in own or kind in ("InputLayer", "Functional"):
            continue
        dense += kind == "Dense"
        if kind not in _HEAD or dense > 1:
            raise BadData(
                f"{path} has a layer {name!r} ({kind}) beside the network, which is not understood. Its head must be "
                "global average pooling, dropout and one dense layer, and its pixels as the network's own "
                "preprocess_input makes them."
            )


def _dense(path: Path, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Kernel and bias of the layer with that kernel's shape."""
    try:
        source = io.BytesIO(zipfile.ZipFile(path).read("model.weights.h5")) if zipfile.is_zipfile(path) else path
        found: list[h5py.Group] = []

        def look(_: str, item: object) -> None:
            if isinstance(item, h5py.Dataset) and item.shape == shape:
                found.append(item.parent)

        with h5py.File(source, "r") as file:
            file.visititems(look)
            parts = [np.asarray(part, np.float32) for part in found[0].values()]
    except (*_BROKEN, IndexError) as error:
        raise BadData(
            f"{path} has no dense layer from {shape[0]} features to {shape[1]} labels. Check the number of labels."
        ) from error
    kernel = next(part for part in parts if part.shape == shape)
    bias = next((part for part in parts if part.shape == (shape[1],)), np.zeros(shape[1], np.float32))
    return kernel, bias
