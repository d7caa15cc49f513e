"""The end of a run: export, measure on the test images through the serving runtime, report, store."""

import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models import store
from models.card import Card, Distillation, Export, WeightsProvenance
from models.classifier import Classifier, head_arrays
from models.export import export_openvino
from models.files import write_whole
from models.history import HISTORY_FILE, History, Phase
from models.runtime import Runtime, open_runtime
from models.store import HEAD_FILE, KERAS_FILE, StoredModel
from training.activations import activations
from training.checkpoint import Progress
from training.dataset import Dataset, Sample, labels_of, load_batch
from training.evaluation import evaluate, fit_temperature, reference
from training.progress import console
from training.report import PLOTS_FOLDER, REPORT_FILE, Report, write_report
from training.runs import mark_done
from training.summary import show

Floats = NDArray[np.float32]
_BATCH = 16
_PACKAGES = ("tensorflow", "keras", "openvino", "numpy", "pillow", "catseye")


def logits_of(runtime: Runtime, samples: Sequence[Sample], card: Card) -> Floats:
    """Logits (samples, classes) through the decode and the runtime that serve, in the samples' order."""
    if not samples:
        return np.empty((0, len(card.labels)), np.float32)
    parts = (samples[i : i + _BATCH] for i in range(0, len(samples), _BATCH))
    with ThreadPoolExecutor(runtime.streams) as pool:
        return np.concatenate(
            list(pool.map(lambda part: runtime.run(load_batch(part, card.input_size))["logits"], parts))
        )


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A trained network and all that is to be told of it."""

    classifier: Classifier
    provenance: WeightsProvenance
    settings: dict[str, object]
    name: str
    variant_of: str | None
    dataset: Dataset
    folder: Path
    phases: Sequence[Progress]
    notes: Sequence[str]
    distillation: Distillation | None = None


def keep(outcome: Outcome) -> StoredModel:
    """Export, calibrate on the validation images, measure on the test images, report, store."""
    folder = outcome.folder / "model"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    card = draft(outcome, export_files(outcome.classifier, folder))
    runtime = open_runtime(StoredModel(card.name, "draft", folder, card), hint="throughput")
    try:
        card, logits = _measure(card, runtime, outcome.dataset)
        _report(outcome, card, logits, runtime)
    finally:
        runtime.close()
    write_whole(folder / HISTORY_FILE, history_of(outcome.phases).model_dump_json(indent=2).encode())
    shutil.copy(outcome.folder / REPORT_FILE, folder)
    if (outcome.folder / PLOTS_FOLDER).is_dir():
        shutil.copytree(outcome.folder / PLOTS_FOLDER, folder / PLOTS_FOLDER)
    if card.metrics is not None:
        show(card.metrics, card.labels)
    stored = store.save(card, lambda target: shutil.copytree(folder, target, dirs_exist_ok=True))
    shutil.rmtree(folder)
    mark_done(outcome.folder, stored.tag)
    return stored


def _report(outcome: Outcome, card: Card, logits: Floats, runtime: Runtime) -> None:
    kernel, bias = head_arrays(outcome.classifier)
    report = Report(
        card=card,
        dataset=outcome.dataset,
        samples=outcome.dataset.test,
        logits=logits,
        phases=outcome.phases,
        notes=outcome.notes,
        activation=activations(runtime, card, kernel, bias),
    )
    path = write_report(outcome.folder, report)
    console.print(f"Report: {path}", highlight=False)


def history_of(phases: Sequence[Progress]) -> History:
    """What is kept of the phases: their figures, without the weights."""
    return History(phases=tuple(Phase.model_validate(phase) for phase in phases))


def export_files(classifier: Classifier, folder: Path) -> Export:
    """Fill a model's folder: the Keras file, the head as arrays, and the OpenVINO export that is returned."""
    classifier.model.save(folder / KERAS_FILE)
    kernel, bias = head_arrays(classifier)
    np.savez(folder / HEAD_FILE, kernel=kernel, bias=bias)
    return export_openvino(classifier, folder)


def draft(outcome: Outcome, export: Export) -> Card:
    """The card of a network that is not measured yet."""
    classifier = outcome.classifier
    return Card(
        name=outcome.name,
        labels=outcome.dataset.labels,
        backbone=classifier.backbone.name,
        input_size=classifier.input_size,
        weights=outcome.provenance,
        data=outcome.dataset.fingerprint,
        split=outcome.dataset.split,
        settings=outcome.settings,
        taps=classifier.taps,
        head=classifier.head,
        exports=(export,),
        parameters=classifier.model.count_params(),
        variant_of=outcome.variant_of,
        distillation=outcome.distillation,
        versions=versions(),
    )


def _measure(card: Card, runtime: Runtime, dataset: Dataset) -> tuple[Card, Floats]:
    """The card with temperature, metrics and reference, and the test images' logits."""
    held, logits = (logits_of(runtime, part, card) for part in (dataset.validation, dataset.test))
    temperature = fit_temperature(held, labels_of(dataset.validation)) if len(held) else 1.0
    if not len(logits):
        return card.model_copy(update={"temperature": temperature}), logits
    metrics = evaluate(logits, labels_of(dataset.test), card.labels, temperature)
    export = card.exports[0].model_copy(update={"accuracy": metrics.accuracy})
    changes = {
        "temperature": temperature,
        "metrics": metrics,
        "reference": reference(logits, card.labels, temperature),
        "exports": (export,),
    }
    return card.model_copy(update=changes), logits


def versions() -> dict[str, str]:
    """Versions of the libraries that made the model."""
    found = {}
    for package in _PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
