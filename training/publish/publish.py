"""The end of a run: export, measure on the test images through the serving runtime, report, store."""

import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from models.card import Card, Distillation, Export, WeightsProvenance
from models.export.head import read_head, write_head
from models.export.openvino import export_openvino
from models.files import write_whole
from models.network.classifier import Classifier, head_arrays
from models.store import store
from models.store.history import HISTORY_FILE, History, Phase
from models.store.store import KERAS_FILE, StoredModel
from training.config import DEFAULT_INT8_DROP, Int8
from training.data.dataset import Dataset, labels_of
from training.evaluate.metrics import evaluate, fit_temperature, reference
from training.fit.checkpoint import Progress
from training.publish import choose_precision
from training.publish.choose_precision import logits_of
from training.report.console import console, print_metrics
from training.report.overlays import activation_maps
from training.report.report import PLOTS_FOLDER, REPORT_FILE, Report, write_report
from training.runs import mark_done, on_disk

__all__ = ["Outcome", "export_files", "keep", "logits_of", "versions"]

_PACKAGES = ("tensorflow", "keras", "openvino", "numpy", "pillow", "catseye")


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
    preview: bytes | None = None
    """A PNG of augmented training images, where there are any."""
    int8: Int8 = "auto"
    int8_drop: float = DEFAULT_INT8_DROP


def keep(outcome: Outcome) -> StoredModel:
    """Export, calibrate on the validation images, measure on the test images, report, store."""
    with on_disk(outcome.folder):
        return _keep(outcome)


def _keep(outcome: Outcome) -> StoredModel:
    folder = outcome.folder / "model"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    card = draft(outcome, export_files(outcome.classifier, folder))
    choice = choose_precision.choose(
        card, folder, outcome.dataset, int8=outcome.int8 == "auto", most_drop=outcome.int8_drop
    )
    card = _measured(card, choice, outcome.dataset)
    if choice.reason:
        console.print(choice.reason, highlight=False, markup=False)
    _report(outcome, card, choice, folder)
    write_whole(folder / HISTORY_FILE, history_of(outcome.phases).model_dump_json(indent=2).encode())
    shutil.copy(outcome.folder / REPORT_FILE, folder)
    if (outcome.folder / PLOTS_FOLDER).is_dir():
        shutil.copytree(outcome.folder / PLOTS_FOLDER, folder / PLOTS_FOLDER)
    if card.metrics is not None:
        print_metrics(card.metrics, card.labels)
    stored = store.save(card, lambda target: shutil.copytree(folder, target, dirs_exist_ok=True))
    shutil.rmtree(folder)
    mark_done(outcome.folder, stored.tag)
    return stored


def _report(outcome: Outcome, card: Card, choice: choose_precision.Choice, folder: Path) -> None:
    runtime = choose_precision.draft_runtime(card, folder, choice.answers.precision)
    try:
        report = Report(
            card=card,
            dataset=outcome.dataset,
            samples=outcome.dataset.test,
            logits=choice.answers.test,
            phases=outcome.phases,
            notes=[*outcome.notes, *filter(None, [choice.reason])],
            preview=outcome.preview,
            activation=activation_maps(runtime, card, *read_head(folder, choice.answers.precision)),
        )
        path = write_report(outcome.folder, report)
    finally:
        runtime.close()
    console.print(f"Report: {path}", highlight=False)


def history_of(phases: Sequence[Progress]) -> History:
    """What is kept of the phases: their figures, without the weights."""
    return History(phases=tuple(Phase.model_validate(phase) for phase in phases))


def export_files(classifier: Classifier, folder: Path) -> Export:
    """Fill a model's folder: the Keras file, the head as arrays, and the OpenVINO export that is returned."""
    classifier.model.save(folder / KERAS_FILE)
    write_head(folder, {"float32": head_arrays(classifier)})
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


def _measured(card: Card, choice: choose_precision.Choice, dataset: Dataset) -> Card:
    """The card with every export, and temperature, metrics and reference of the one that serves."""
    answers = choice.answers
    temperature = 1.0
    if dataset.validation:
        temperature = fit_temperature(answers.validation, labels_of(dataset.validation))
    changes: dict[str, object] = {
        "exports": choice.exports,
        "served_precision": answers.precision,
        "temperature": temperature,
    }
    if dataset.test:
        changes["metrics"] = evaluate(answers.test, labels_of(dataset.test), card.labels, temperature)
        changes["reference"] = reference(answers.test, card.labels, temperature)
    return card.model_copy(update=changes)


def versions() -> dict[str, str]:
    """Versions of the libraries that made the model."""
    found = {}
    for package in _PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
