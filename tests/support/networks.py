"""Small networks with lively random weights, built, exported and stored once for all tests of a session."""

import shutil
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from models.card import Card, WeightsProvenance
from models.export.head import write_head
from models.export.int8 import preset_for, quantize
from models.export.openvino import export_openvino
from models.network.classifier import Classifier, HeadSpec, build_classifier, head_arrays
from models.runtime.base import softmax
from models.store import store
from models.store.store import StoredModel

Depths = Literal["last", "several"]


def images(count: int, size: int, seed: int = 0) -> NDArray[np.uint8]:
    """Noise of different brightness, so that the answers differ."""
    random = np.random.default_rng(seed)
    top = random.integers(20, 256, (count, 1, 1, 3))
    return (random.random((count, size, size, 3)) * top).astype(np.uint8)


@cache
def network(backbone: str = "cnn", depths: Depths = "last", size: int = 32, classes: int = 5) -> Classifier:
    """A classifier whose logits lie some units apart, as a trained one's do."""
    head = HeadSpec(depths=depths, batch_norm=depths == "several")
    classifier = build_classifier(backbone, classes, input_size=size, head=head, seed=1)
    random = np.random.default_rng(2)
    layer = classifier.model.get_layer("logits")
    features = classifier.output_model()(images(16, size), training=False)["embedding"].numpy()
    scale = 3 / np.maximum(features.std(0), 1e-3 * np.abs(features).max()).clip(1e-12) / len(features[0]) ** 0.5
    kernel = random.normal(size=(features.shape[1], classes)) * scale[:, None]
    layer.set_weights([kernel, random.normal(size=classes)])
    return classifier


@cache
def stored(
    backbone: str = "cnn", depths: Depths = "last", size: int = 32, classes: int = 5, *, int8: bool = True
) -> StoredModel:
    """That network in a store of its own, with its exports; treat the files as read-only."""
    classifier = network(backbone, depths, size, classes)
    folder = Path(tempfile.mkdtemp(prefix="catseye-network-"))
    exports = [export_openvino(classifier, folder)]
    if int8:
        exports.append(quantize(folder, list(images(8, size)), preset_for(backbone)))
    card = Card(
        name="network",
        labels=tuple(f"label {number}" for number in range(classes)),
        backbone=backbone,
        input_size=(size, size),
        weights=WeightsProvenance(source="none", detail="random"),
        taps=classifier.taps,
        head=classifier.head,
        exports=tuple(exports),
        parameters=classifier.model.count_params(),
    )

    def write(target: Path) -> None:
        classifier.model.save(target / store.KERAS_FILE)
        kernel, bias = head_arrays(classifier)
        write_head(target, {"float32": (kernel, bias)})
        (folder / "openvino").rename(target / "openvino")

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTOML_HOME", str(folder / "home"))
        return store.save(card, write)


def answers(classifier: Classifier, pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    """What Keras itself says."""
    outputs = classifier.output_model()(pixels, training=False)
    return {name: value.numpy() for name, value in outputs.items()}


def copied(model: StoredModel, folder: Path) -> StoredModel:
    """The same model in a place where a test may break it."""
    shutil.copytree(model.path, folder)
    return replace(model, path=folder)


def with_card(model: StoredModel, **changes: object) -> StoredModel:
    return replace(model, card=model.card.model_copy(update=changes))


def same(found: dict[str, NDArray[np.float32]], expected: dict[str, NDArray[np.float32]]) -> None:
    """The contract between runtimes: probabilities within 1e-3, embedding and maps close."""
    for name, values in found.items():
        assert values.dtype == np.float32
        if name == "logits":
            assert np.abs(softmax(values) - softmax(expected[name])).max() < 1e-3
        np.testing.assert_allclose(values, expected[name], atol=1e-4 * np.abs(expected[name]).max(), rtol=1e-3)
