"""Small networks with random weights whose answers differ, built, exported and stored; no training."""

import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from models.arrays import softmax
from models.card import Card, DataFingerprint, Metrics, Reference, Split, WeightsProvenance
from models.export.head import write_head
from models.export.int8 import preset_for, quantize
from models.export.openvino import export_openvino
from models.network.classifier import Classifier, HeadSpec, build_classifier, head_arrays
from models.store import store
from models.store.history import HISTORY_FILE, History, Phase
from models.store.store import StoredModel
from tests.support.images import photograph

Depths = Literal["last", "several"]
LABELS = ("Käfer", "강아지", "cat", "dog")
HISTORY = History(
    phases=(
        Phase(
            phase="head",
            best_epoch=2,
            history=tuple(
                {"epoch": n, "loss": 1 / n, "accuracy": 1 - 0.5 / n, "val_loss": 1.1 / n, "val_accuracy": 0.9 - 0.4 / n}
                for n in (1, 2)
            ),
        ),
        Phase(phase="top", best_epoch=1, history=({"epoch": 1, "loss": 0.4, "accuracy": 0.8, "val_loss": None},)),
    )
)
DATA = DataFingerprint(name="pets", images=40, classes=dict.fromkeys(LABELS, 10), sha256="5e" * 32)
SPLIT = Split(method="stratified", seed=0, train=28, validation=8, test=4)


def images(count: int, size: int, seed: int = 0) -> NDArray[np.uint8]:
    """Noise of different brightness, so that the answers differ."""
    random = np.random.default_rng(seed)
    top = random.integers(20, 256, (count, 1, 1, 3))
    return (random.random((count, size, size, 3)) * top).astype(np.uint8)


def spread_logits(classifier: Classifier, pixels: NDArray[np.uint8], seed: int, *, centred: bool = False) -> None:
    """Give the classifier random weights with which these images get different answers, as after training.

    The features that a network with random weights makes of two images differ by little; a head that did not enlarge
    the difference would answer all alike, and a reply to the wrong request would look right.
    """
    random = np.random.default_rng(seed)
    features = classifier.output_model()(pixels, training=False)["embedding"].numpy()
    scale = 3 / np.maximum(features.std(0), 1e-3 * np.abs(features).max()).clip(1e-12) / len(features[0]) ** 0.5
    layer = classifier.model.get_layer("logits")
    kernel = random.normal(size=layer.kernel.shape) * scale[:, None]
    bias = random.normal(size=kernel.shape[1])
    layer.set_weights([kernel, bias - features.mean(0) @ kernel if centred else bias])


@cache
def network(backbone: str = "cnn", depths: Depths = "last", size: int = 32, classes: int = 5) -> Classifier:
    """A classifier whose logits lie some units apart."""
    head = HeadSpec(depths=depths, batch_norm=depths == "several")
    classifier = build_classifier(backbone, classes, input_size=size, head=head, seed=1)
    spread_logits(classifier, images(16, size), seed=2)
    return classifier


@cache
def stored(
    backbone: str = "cnn", depths: Depths = "last", size: int = 32, classes: int = 5, *, int8: bool = True
) -> StoredModel:
    """That network in a store of its own, with its exports; treat the files as read-only."""
    labels = tuple(f"label {number}" for number in range(classes))
    home = Path(tempfile.mkdtemp(prefix="catseye-network-"))
    calibration = list(images(8, size)) if int8 else ()
    classifier = network(backbone, depths, size, classes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTOML_HOME", str(home))
        return store_classifier(classifier, calibration=calibration, name="network", labels=labels)


def store_classifier(
    classifier: Classifier,
    *,
    calibration: Sequence[NDArray[np.uint8]] = (),
    history: History | None = None,
    broken: bool = False,
    **card: object,
) -> StoredModel:
    """Export and store a classifier; with an int8 export where there are images to calibrate it with."""
    with tempfile.TemporaryDirectory(prefix="catseye-export-") as scratch:
        folder = Path(scratch)
        exports = [export_openvino(classifier, folder)]
        if calibration:
            exports.append(quantize(folder, list(calibration), preset_for(classifier.backbone.name)))

        def write(target: Path) -> None:
            classifier.model.save(target / store.KERAS_FILE)
            write_head(target, {"float32": head_arrays(classifier)})
            shutil.move(folder / "openvino", target / "openvino")
            if history is not None:
                (target / HISTORY_FILE).write_text(history.model_dump_json())
            if broken:
                (target / "openvino" / "float32.xml").write_text("<net/>")

        fields: dict[str, object] = {
            "backbone": classifier.backbone.name,
            "input_size": classifier.input_size,
            "weights": WeightsProvenance(source="none", detail="random weights"),
            "taps": classifier.taps,
            "head": classifier.head,
            "exports": tuple(exports),
            "parameters": classifier.model.count_params(),
        }
        return store.save(Card.model_validate(fields | card), write)


def make_model(
    name: str,
    *,
    seed: int = 0,
    size: int | None = 96,
    backbone: str = "mobilenet_v2",
    labels: tuple[str, ...] = LABELS,
    broken: bool = False,
    history: History | None = None,
    **card: object,
) -> StoredModel:
    """Store a network in the store in use; ``broken``, with an export that cannot be read."""
    classifier = build_classifier(backbone, len(labels), input_size=size, head=HeadSpec(), seed=seed)
    height, width = classifier.input_size
    pixels = np.stack([photograph(height, width, number) for number in range(4)])
    spread_logits(classifier, pixels, seed, centred=True)
    metrics = Metrics(
        images=4,
        accuracy=0.5,
        accuracy_low=0.15,
        accuracy_high=0.85,
        balanced_accuracy=0.5,
        macro_f1=0.4,
        log_loss=1.0,
        calibration_error=0.1,
        confusion=tuple((1,) * len(labels) for _ in labels),
    )
    reference = Reference(
        classes={label: 1 / len(labels) for label in labels},
        confidence_edges=(0, 0.25, 0.5, 0.75, 1),
        confidence=(0.25, 0.25, 0.25, 0.25),
    )
    fields = {"name": name, "labels": labels, "reference": reference, "metrics": metrics} | card
    return store_classifier(classifier, history=history, broken=broken, **fields)


def fill_store(home: Path, name: str = "shapes", **changes: object) -> None:
    """Put a small network into the store in ``home``; its card says what it predicted on its held-out images."""
    original = stored()
    labels = original.card.labels
    reference = Reference(
        classes=dict.fromkeys(labels, 1 / len(labels)),
        confidence_edges=(0.0, 0.5, 0.8, 1.0),
        confidence=(0.2, 0.3, 0.5),
    )
    card = original.card.model_copy(update={"name": name, "reference": reference} | changes)
    parts = shutil.ignore_patterns("card.json", "model.yaml")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTOML_HOME", str(home))
        store.save(card, lambda target: shutil.copytree(original.path, target, dirs_exist_ok=True, ignore=parts))


def pets_store() -> Path:
    """The session's store, with a fast and an accurate variant of ``pets``."""
    make_model("pets-fast", seed=2, size=64, variant_of="pets")
    make_model("pets", seed=1, temperature=50.0, history=HISTORY, data=DATA, split=SPLIT)
    return Path(os.environ["BENTOML_HOME"])


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
