"""The end of a run: export, measure on the test images through the serving runtime, report, store."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from models.card import Card, Distillation, WeightsProvenance
from models.errors import BadParameter
from models.export.head import read_head, write_head
from models.export.openvino import export_openvino
from models.files import write_whole
from models.network.classifier import Classifier, head_arrays
from models.runtime.open import open_runtime
from models.store import store
from models.store.history import HISTORY_FILE, History, Phase
from models.store.store import KERAS_FILE, StoredModel
from training.config import DEFAULT_INT8_DROP, Int8
from training.console import console, print_metrics
from training.data.dataset import Dataset, labels_of
from training.evaluate.calibration import fit_temperature
from training.evaluate.metrics import evaluate, reference
from training.fit.checkpoint import Progress
from training.publish.choose_precision import Predictions, choose
from training.report.overlays import activation_maps
from training.report.report import PLOTS_FOLDER, REPORT_FILE, Report, write_report
from training.runs import mark_done, on_disk

_PACKAGES = ("tensorflow", "keras", "openvino", "numpy", "pillow", "catseye")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A trained network, and what its card and report say about the run."""

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


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A model that is not stored yet: its card has metrics and every export, and the outputs that gave them."""

    model: StoredModel
    served: Predictions
    float32: Predictions
    reason: str
    """Why this precision serves; empty where there was nothing to choose from."""


@contextmanager
def exported(classifier: Classifier, folder: Path, **facts: Any) -> Iterator[StoredModel]:
    """Export a network to ``folder`` as a model that is not in the store; the folder is removed at the end.

    ``facts`` are the fields of the card that the network does not know, such as ``name`` and ``labels``.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        classifier.model.save(folder / KERAS_FILE)
        write_head(folder, {"float32": head_arrays(classifier)})
        card = Card(
            backbone=classifier.backbone.name,
            input_size=classifier.input_size,
            taps=classifier.taps,
            head=classifier.head,
            exports=(export_openvino(classifier, folder),),
            parameters=classifier.model.count_params(),
            versions=versions(),
            **facts,
        )
        yield StoredModel(card.name, "unstored", folder, card)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def export_outcome(outcome: Outcome) -> Iterator[StoredModel]:
    """Export a trained network inside its run folder, as ``exported`` does; StoreError where the disk is full."""
    facts = {
        "name": outcome.name,
        "labels": outcome.dataset.labels,
        "weights": outcome.provenance,
        "data": outcome.dataset.fingerprint,
        "split": outcome.dataset.split,
        "settings": outcome.settings,
        "variant_of": outcome.variant_of,
    }
    with on_disk(outcome.folder), exported(outcome.classifier, outcome.folder / "model", **facts) as model:
        yield model


@contextmanager
def export_and_measure(outcome: Outcome, *, int8: bool | None = None) -> Iterator[Measured]:
    """Export a trained network, choose its precision, calibrate on validation images, measure on test images.

    ``int8`` is by default what the outcome says. Raises StoreError where the disk is full.
    """
    dataset = outcome.dataset
    int8 = outcome.int8 == "auto" if int8 is None else int8
    with export_outcome(outcome) as model:
        choice = choose(model, dataset, int8=int8, most_drop=outcome.int8_drop)
        served = choice.served
        temperature = fit_temperature(served.validation, labels_of(dataset.validation))
        changes: dict[str, object] = {
            "exports": choice.exports,
            "served_precision": served.precision,
            "temperature": temperature,
        }
        if dataset.test:
            changes["metrics"] = evaluate(served.test, labels_of(dataset.test), dataset.labels, temperature)
            changes["reference"] = reference(served.test, dataset.labels, temperature)
        model = replace(model, card=model.card.model_copy(update=changes))
        yield Measured(model=model, served=served, float32=choice.float32, reason=choice.reason)


def publish(outcome: Outcome) -> StoredModel:
    """Export, measure, report and store a trained network."""
    with export_and_measure(outcome) as measured:
        return store_measured(outcome, measured)


def store_measured(outcome: Outcome, measured: Measured) -> StoredModel:
    """Report and store a network that ``export_and_measure`` exported."""
    folder = measured.model.path
    card = measured.model.card.model_copy(update={"distillation": outcome.distillation})
    if measured.reason:
        console.print(measured.reason, highlight=False, markup=False)
    report = Report(
        card=card,
        dataset=outcome.dataset,
        samples=outcome.dataset.test,
        logits=measured.served.test,
        phases=outcome.phases,
        notes=[*outcome.notes, *filter(None, [measured.reason])],
        preview=outcome.preview,
    )
    report_on(replace(measured.model, card=card), report, outcome.folder)
    history = History(phases=tuple(Phase.model_validate(phase) for phase in outcome.phases))
    write_whole(folder / HISTORY_FILE, history.model_dump_json(indent=2).encode())
    shutil.copy(outcome.folder / REPORT_FILE, folder)
    if (outcome.folder / PLOTS_FOLDER).is_dir():
        shutil.copytree(outcome.folder / PLOTS_FOLDER, folder / PLOTS_FOLDER)
    stored = store_exported(replace(measured.model, card=card))
    mark_done(outcome.folder, stored.tag)
    return stored


def store_exported(model: StoredModel) -> StoredModel:
    """Copy a model that ``exported`` made into the store."""
    return store.save(model.card, lambda target: shutil.copytree(model.path, target, dirs_exist_ok=True))


def report_on(model: StoredModel, report: Report, folder: Path | None) -> None:
    """Write the report of a model's outputs to ``folder``, where there is one, and print its metrics."""
    if folder is not None:
        precision = model.card.served_precision
        with closing(open_runtime(model, precision=precision, hint="throughput")) as runtime:
            maps = activation_maps(runtime, model.card, *read_head(model.path, precision))
            path = write_report(folder, replace(report, activation=maps))
        console.print(f"Report: {path}", highlight=False)
    if report.card.metrics is not None:
        print_metrics(report.card.metrics, report.card.labels)


def check_variant(name: str, labels: Sequence[str]) -> None:
    """BadParameter unless a variant of the model ``name`` with these ``labels`` can stand in for it.

    A name that the store does not hold is not checked: the two may be trained in any order.
    """
    newest = next(iter(store.list_models(store.check_name(name, "--variant-of"))), None)
    if newest is not None and newest.card.labels != tuple(labels):
        raise BadParameter(
            f"{newest.tag} has the labels {', '.join(newest.card.labels)}, the data have {', '.join(labels)}, and a "
            "variant needs the same ones in the same order. Train on the same classes, or leave --variant-of out."
        )


def versions() -> dict[str, str]:
    """Versions of the libraries that made the model."""
    found = {}
    for package in _PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
