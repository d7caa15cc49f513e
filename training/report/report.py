"""The report of a run: plots, tables and one self-contained ``report.html``.

The page needs no script and no network: its images are embedded, and its content security policy forbids the rest.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from numpy.typing import NDArray

from models.arrays import softmax
from models.card import Card
from models.files import disk_errors, write_whole
from models.image.decode import thumbnail
from training.data.dataset import Dataset, Sample, labels_of
from training.data.layouts import SPLITS, normal
from training.evaluate.calibration import losses, reliability
from training.evaluate.metrics import accuracy_text, as_percent, class_table, most_confused, roc_auc, worst
from training.report import overlays, plots
from training.report.fonts import plot_labels

Floats = NDArray[np.floating]
REPORT_FILE, PLOTS_FOLDER = "report.html", "plots"
_MOST_SKIPPED, _MOST_CELLS, _THUMBNAIL = 200, 20, 240


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a report shows of a model; metrics only where there are held-out images."""

    card: Card
    dataset: Dataset
    samples: Sequence[Sample] = ()
    """The held-out images."""
    logits: Floats
    """Their outputs ``(samples, classes)``, before the temperature."""
    phases: Sequence[plots.Phase] = ()
    notes: Sequence[str] = ()
    """Sentences about decisions of the run, such as how much is frozen and why."""
    preview: bytes | None = None
    """A PNG of augmented training images."""
    activation: overlays.ActivationMap | None = None
    worst_images: int = 12


def write_report(folder: Path, report: Report) -> Path:
    """Fill ``folder`` with ``report.html``, ``plots/*.png`` and the tables as CSV; the path of the page.

    Each file is written whole or not at all. Raises ``StoreError`` where the disk is full.
    """
    drawn = _draw(report)
    files: dict[str, bytes] = {f"{PLOTS_FOLDER}/{name}.png": data for name, data in drawn.items()}
    files["history.csv"] = _history(report.phases)
    if len(report.samples):
        files |= {"predictions.csv": _predictions(report), "classes.csv": _classes(report)}
    files[REPORT_FILE] = render(report, drawn).encode()
    with disk_errors(f"The report cannot be written to {folder}", "Free some space, then go on with --resume."):
        for name, data in files.items():
            write_whole(folder / name, data)
    return folder / REPORT_FILE


def render(report: Report, drawn: dict[str, bytes]) -> str:
    """The page, with ``drawn`` plots (name -> PNG) inside it."""
    card, labels = report.card, report.card.labels
    held = len(report.samples) > 0 and card.metrics is not None
    drawn_labels = plot_labels(labels)
    return _environment().get_template("report.html.j2").render(
        card=card,
        dataset=report.dataset,
        metrics=card.metrics if held else None,
        summary=accuracy_text(card.metrics) if held and card.metrics else None,
        auc=roc_auc(report.logits, labels_of(report.samples)) if held else None,
        plots={name: overlays.data_uri(data, "image/png") for name, data in drawn.items()},
        parts=_parts(report.dataset),
        rows=class_table(report.logits, labels_of(report.samples), labels) if held else [],
        confused=most_confused(card.metrics, labels) if held and card.metrics else [],
        cells=held and len(labels) <= _MOST_CELLS,
        worst=list(_worst(report)) if held else [],
        notes=report.notes,
        numbers=dict(zip(labels, drawn_labels.names, strict=True)) if drawn_labels.numbered else {},
        skipped=report.dataset.skipped[:_MOST_SKIPPED],
        settings=sorted(card.settings.items()),
    )  # fmt: skip


def _draw(report: Report) -> dict[str, bytes]:
    """Name -> PNG of the plots that there are data for."""
    drawn: dict[str, bytes] = {}
    if any(phase.history for phase in report.phases):
        drawn["learning_curves"] = plots.learning_curves(report.phases)
    if report.preview is not None:
        drawn["augmentation"] = report.preview
    metrics, temperature = report.card.metrics, report.card.temperature
    if metrics is not None and len(report.samples):
        targets = labels_of(report.samples)
        drawn["confusion"] = plots.confusion(np.array(metrics.confusion), report.card.labels)
        drawn["classes"] = plots.class_bars(class_table(report.logits, targets, report.card.labels))
        before, after = (reliability(report.logits, targets, t) for t in (1.0, temperature))
        drawn["reliability"] = plots.reliability_diagram(before, after, temperature)
    return drawn


def _worst(report: Report) -> Iterator[dict[str, Any]]:
    """The images with the highest loss that can still be read, as the template shows them."""
    indices = worst(report.logits, labels_of(report.samples), report.card.temperature, report.worst_images)
    labels = report.card.labels
    for index, probabilities in zip(indices, softmax(report.logits[indices], report.card.temperature), strict=True):
        sample, top = report.samples[index], int(probabilities.argmax())
        try:
            image = thumbnail(sample.path.read_bytes(), _THUMBNAIL)
        except OSError:
            continue
        # Of two labels, one map is the other's negative.
        shown = (top,) if top == sample.label or len(labels) == 2 else (top, sample.label)
        maps = [(label, report.activation(sample, label)) for label in shown] if report.activation else []
        limit = max((overlays.full_colour(m) for _, m in maps), default=None)
        yield {
            "name": normal(sample.path.name),
            "true": labels[sample.label],
            "predicted": labels[top],
            "probability": float(probabilities[top]),
            "probability_of_true": float(probabilities[sample.label]),
            "image": overlays.jpeg_uri(image),
            "maps": [(labels[i], overlays.jpeg_uri(overlays.overlay(image, m, limit))) for i, m in maps],
        }


def _parts(dataset: Dataset) -> list[tuple[str, list[int]]]:
    """(label, images in train, validation and test) of every class."""
    counts = np.zeros((len(dataset.labels), len(SPLITS)), int)
    for sample in dataset.samples:
        counts[sample.label, SPLITS.index(sample.split)] += 1
    return [(label, row.tolist()) for label, row in zip(dataset.labels, counts, strict=True)]


def _history(phases: Sequence[plots.Phase]) -> bytes:
    figures = [{"phase": phase.phase, **row} for phase in phases for row in phase.history]
    columns = dict.fromkeys(key for row in figures for key in row) or {"phase": None, "epoch": None}
    return _csv(columns, ([row.get(key, "") for key in columns] for row in figures))


def _predictions(report: Report) -> bytes:
    predicted = softmax(report.logits, report.card.temperature)
    loss = losses(report.logits, labels_of(report.samples), report.card.temperature)
    labels = report.card.labels
    rows = (
        [sample.path, labels[sample.label], labels[row.argmax()], f"{row.max():.6f}", f"{value:.6f}"]
        for sample, row, value in zip(report.samples, predicted, loss, strict=True)
    )
    return _csv(("path", "label", "predicted", "probability", "loss"), rows)


def _classes(report: Report) -> bytes:
    table = class_table(report.logits, labels_of(report.samples), report.card.labels)
    columns = ("label", "images", "precision", "recall", "recall_low", "recall_high", "f1")
    return _csv(columns, ([getattr(row, name) for name in columns] for row in table))


def _csv(columns: Iterable[str], rows: Iterable[Sequence[Any]]) -> bytes:
    """UTF-8 with a byte-order mark, by which spreadsheets recognise the encoding."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(list(columns))
    writer.writerows(rows)
    return out.getvalue().encode("utf-8-sig")


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = as_percent
    environment.filters["name"] = lambda path: normal(Path(path).name)
    return environment
