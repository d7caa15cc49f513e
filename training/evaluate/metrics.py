"""Metrics of a classifier on held-out images, with confidence intervals."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support, roc_auc_score

from models.arrays import Pixels, softmax
from models.card import Card, Metrics, Reference
from models.errors import BadParameter
from models.runtime.base import Runtime
from training.data.dataset import Sample, load_batch
from training.evaluate.calibration import NOT_FINITE, losses, reliability

Floats = NDArray[np.floating]
Indices = NDArray[np.integer]

REFERENCE_BINS = 10
_BATCH = 16


@dataclass(frozen=True, kw_only=True)
class ClassRow:
    """One class on the test images; the interval is the recall's, 95 %."""

    label: str
    images: int
    precision: float
    recall: float
    recall_low: float
    recall_high: float
    f1: float


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """``count`` images of ``true`` are predicted as ``predicted``: a ``share`` of the images of ``true``."""

    true: str
    predicted: str
    count: int
    share: float


def logits_of(
    runtime: Runtime,
    samples: Sequence[Sample],
    card: Card,
    transform: Callable[[Pixels], Pixels] = lambda pixels: pixels,
    advance: Callable[[int, str], None] = lambda images, text: None,
) -> NDArray[np.float32]:
    """Logits (samples, classes) through the serving decode and ``runtime``, in the samples' order.

    ``transform`` changes the decoded images (batch, height, width, 3); ``advance`` is called with the images done.
    """
    if not samples:
        return np.empty((0, len(card.labels)), np.float32)

    def run(part: Sequence[Sample]) -> NDArray[np.float32]:
        logits = runtime.run(transform(load_batch(part, card.input_size)))["logits"]
        advance(len(part), "")
        return logits

    with ThreadPoolExecutor(runtime.streams) as pool:
        return np.concatenate(list(pool.map(run, (samples[i : i + _BATCH] for i in range(0, len(samples), _BATCH)))))


def wilson_interval(successes: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """The score interval of a proportion (Wilson 1927), good for small counts too; (0, 1) for ``total`` 0."""
    if not total:
        return 0.0, 1.0
    low, high = binomtest(successes, total).proportion_ci(confidence, method="wilson")
    return float(low), float(high)


def evaluate(logits: Floats, targets: Indices, labels: Sequence[str], temperature: float = 1.0) -> Metrics:
    """The card's metrics from logits ``(n, classes)`` and true label indices ``(n,)``.

    Classes without a test image do not count in balanced accuracy and macro-F1.
    Raises ``BadParameter`` where there is no image, or a logit is not finite.
    """
    _check(logits, targets, labels)
    matrix = confusion_matrix(targets, logits.argmax(axis=1), labels=range(len(labels)))
    correct, total = int(np.trace(matrix)), len(targets)
    low, high = wilson_interval(correct, total)
    present = matrix.sum(axis=1) > 0
    _, recall, f1, _ = _per_class(logits, targets, len(labels))
    return Metrics(
        images=total,
        accuracy=correct / total,
        accuracy_low=low,
        accuracy_high=high,
        balanced_accuracy=float(recall[present].mean()),
        macro_f1=float(f1[present].mean()),
        log_loss=float(losses(logits, targets, temperature).mean()),
        calibration_error=reliability(logits, targets, temperature).error,
        confusion=tuple(tuple(int(count) for count in row) for row in matrix),
    )


def class_table(logits: Floats, targets: Indices, labels: Sequence[str]) -> list[ClassRow]:
    """Precision, recall with its interval, and F1 of every class, in the order of ``labels``."""
    rows = []
    for label, precision, recall, f1, images in zip(labels, *_per_class(logits, targets, len(labels)), strict=True):
        low, high = wilson_interval(round(recall * images), int(images))
        rows.append(
            ClassRow(
                label=label,
                images=int(images),
                precision=float(precision),
                recall=float(recall),
                recall_low=low,
                recall_high=high,
                f1=float(f1),
            )
        )
    return rows


def most_confused(metrics: Metrics, labels: Sequence[str], most: int = 10) -> list[Confusion]:
    """The off-diagonal cells with the most images, the largest first; ties go to the larger share."""
    pairs = [
        Confusion(true=labels[i], predicted=labels[j], count=count, share=count / sum(row))
        for i, row in enumerate(metrics.confusion)
        for j, count in enumerate(row)
        if i != j and count
    ]
    return sorted(pairs, key=lambda pair: (-pair.count, -pair.share, pair.true, pair.predicted))[:most]


def worst(logits: Floats, targets: Floats | Indices, temperature: float = 1.0, most: int = 12) -> NDArray[np.int64]:
    """Indices of the images with the greatest loss, the greatest first."""
    return np.argsort(-losses(logits, targets, temperature), kind="stable")[:most]


def roc_auc(logits: Floats, targets: Indices) -> float | None:
    """Area under the ROC curve for two classes; None for more classes, or where one class has no image."""
    if logits.shape[1] != 2 or len(set(targets.tolist())) != 2:
        return None
    return float(roc_auc_score(targets, logits[:, 1] - logits[:, 0]))


def reference(logits: Floats, labels: Sequence[str], temperature: float = 1.0) -> Reference:
    """The distribution of predictions on held-out images: shares of labels, and of top-1 confidence in ten bins."""
    predicted = softmax(logits, temperature)
    total = len(predicted)
    counts = np.bincount(predicted.argmax(axis=1), minlength=len(labels))
    edges = np.linspace(0.0, 1.0, REFERENCE_BINS + 1)
    bins, _ = np.histogram(predicted.max(axis=1), edges)
    return Reference(
        classes={label: float(count / total) for label, count in zip(labels, counts, strict=True)},
        confidence_edges=tuple(float(edge) for edge in edges),
        confidence=tuple(float(count / total) for count in bins),
    )


def as_percent(share: float) -> str:
    """``"86.6 %"``, with a space that does not break."""
    return f"{100 * share:.1f}\N{NO-BREAK SPACE}%"


def accuracy_text(metrics: Metrics) -> str:
    """The accuracy, always with its interval."""
    return (
        f"accuracy {as_percent(metrics.accuracy)} on {metrics.images:,} images "
        f"(95\N{NO-BREAK SPACE}% interval {as_percent(metrics.accuracy_low)} to {as_percent(metrics.accuracy_high)})"
    )


def _per_class(logits: Floats, targets: Indices, classes: int) -> tuple[NDArray[np.float64], ...]:
    """Precision, recall, F1 and image count of each class; 0 where a figure is not defined."""
    figures = precision_recall_fscore_support(targets, logits.argmax(axis=1), labels=range(classes), zero_division=0)
    return tuple(np.asarray(figure) for figure in figures)


def _check(logits: Floats, targets: Indices, labels: Sequence[str]) -> None:
    if not len(targets):
        raise BadParameter("There is no image to measure on. Hold out some test images.")
    if logits.shape != (len(targets), len(labels)):
        raise BadParameter(
            f"The logits have the shape {logits.shape} for {len(targets)} images of {len(labels)} classes. "
            "Measure with the model's own labels."
        )
    if not np.isfinite(logits).all():
        raise BadParameter(NOT_FINITE)
