"""Figures on held-out images: what they are, how sure they are, and where the mistakes lie."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_fscore_support, roc_auc_score

from models.card import Metrics, Reference
from models.errors import BadParameter
from training.evaluate.calibration import fit_temperature, losses, probabilities, reliability

__all__ = [
    "ClassRow",
    "Confusion",
    "as_percent",
    "class_table",
    "confusion_matrix",
    "evaluate",
    "fit_temperature",
    "most_confused",
    "reference",
    "roc_auc",
    "summary",
    "wilson_interval",
    "worst",
]

Floats = NDArray[np.floating]
Indices = NDArray[np.integer]

REFERENCE_BINS = 10


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
    """``count`` images of ``true`` were taken for ``predicted``; ``share`` is of the true class's images."""

    true: str
    predicted: str
    count: int
    share: float


def wilson_interval(successes: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """The interval of a proportion (Wilson 1927): sound for small counts too; (0, 1) for none."""
    if not total:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = successes / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z * sqrt(share * (1 - share) / total + z * z / (4 * total * total)) / (1 + z * z / total)
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == total else min(1.0, centre + half)
    return low, high


def evaluate(logits: Floats, targets: Indices, labels: Sequence[str], temperature: float = 1.0) -> Metrics:
    """The card's figures from logits ``(n, classes)`` and true label indices ``(n,)``.

    Classes that no test image belongs to count neither in balanced accuracy nor in macro-F1.
    Raises ``BadParameter`` where there is no image, or a logit is not finite.
    """
    _check(logits, targets, labels)
    matrix = confusion_matrix(logits, targets, len(labels))
    right, total = int(np.trace(matrix)), len(targets)
    low, high = wilson_interval(right, total)
    present = matrix.sum(axis=1) > 0
    _, recall, f1, _ = _per_class(logits, targets, len(labels))
    return Metrics(
        images=total,
        accuracy=right / total,
        accuracy_low=low,
        accuracy_high=high,
        balanced_accuracy=float(recall[present].mean()),
        macro_f1=float(f1[present].mean()),
        log_loss=float(losses(logits, targets, temperature).mean()),
        calibration_error=reliability(logits, targets, temperature).error,
        confusion=tuple(tuple(int(count) for count in row) for row in matrix),
    )


def confusion_matrix(logits: Floats, targets: Indices, classes: int) -> NDArray[np.int64]:
    """Counts ``(classes, classes)``: rows true, columns predicted."""
    matrix = np.zeros((classes, classes), np.int64)
    np.add.at(matrix, (targets, logits.argmax(axis=1)), 1)
    return matrix


def class_table(logits: Floats, targets: Indices, labels: Sequence[str]) -> list[ClassRow]:
    """Precision, recall with its interval, and F1 of every class, in the order of ``labels``."""
    precision, recall, f1, counts = _per_class(logits, targets, len(labels))
    hits = confusion_matrix(logits, targets, len(labels)).diagonal()
    rows = []
    for i, label in enumerate(labels):
        low, high = wilson_interval(int(hits[i]), int(counts[i]))
        rows.append(
            ClassRow(
                label=label,
                images=int(counts[i]),
                precision=float(precision[i]),
                recall=float(recall[i]),
                recall_low=low,
                recall_high=high,
                f1=float(f1[i]),
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
    """Indices of the images with the greatest loss, the worst first."""
    return np.argsort(-losses(logits, targets, temperature), kind="stable")[:most]


def roc_auc(logits: Floats, targets: Indices, positive: int = 1) -> float | None:
    """Area under the ROC curve for two classes; None for more classes, or where one class has no image."""
    if logits.shape[1] != 2 or len(set(targets.tolist())) != 2:
        return None
    margin = logits[:, positive] - logits[:, 1 - positive]
    return float(roc_auc_score(targets == positive, margin))


def reference(logits: Floats, labels: Sequence[str], temperature: float = 1.0) -> Reference:
    """What the model says about held-out images: shares of labels, and of top-1 confidence in ten bins."""
    predicted = probabilities(logits, temperature)
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


def summary(metrics: Metrics) -> str:
    """The accuracy as people should read it: never without its interval."""
    return (
        f"{as_percent(metrics.accuracy)} of {metrics.images:,} images right "
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
        raise BadParameter("The network's outputs are no finite numbers. Train again at a smaller learning rate.")
