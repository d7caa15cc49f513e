"""Calibration: how well a classifier's confidence matches its accuracy, and temperature scaling."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from models.arrays import softmax
from models.errors import BadParameter

Floats = NDArray[np.floating]
Indices = NDArray[np.integer]

BINS = 15
_LEAST, _MOST = 0.05, 20.0
_PRIOR = 0.5
"""Weight of (log T)^2 against the summed loss: less than one image's worth, so that twenty validation images
without an error do not drive the temperature to its bound."""
NOT_FINITE = "The network's outputs are not finite. Train again with a smaller learning rate."


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """Predictions sorted into bins of equal width by their top-1 confidence; empty bins have NaN figures."""

    edges: NDArray[np.float64]
    """(bins + 1,), from 0 to 1."""
    counts: NDArray[np.int64]
    confidence: NDArray[np.float64]
    """Mean confidence in each bin."""
    accuracy: NDArray[np.float64]
    """Accuracy in each bin."""

    @property
    def error(self) -> float:
        """Expected calibration error: the mean gap, weighted by count (Naeini et al. 2015)."""
        gaps = np.abs(np.nan_to_num(self.confidence - self.accuracy))
        return float((gaps * self.counts).sum() / self.counts.sum())


def losses(logits: Floats, targets: Floats | Indices, temperature: float = 1.0) -> NDArray[np.float64]:
    """Cross-entropy of each image ``(n,)``; targets are indices or probabilities ``(n, classes)``."""
    logs = log_softmax(np.asarray(logits, np.float64) / temperature, axis=1)
    if targets.ndim == 1:
        return np.asarray(-logs[np.arange(len(logs)), targets.astype(np.int64)])
    return np.asarray(-(targets * logs).sum(axis=1))


def fit_temperature(logits: Floats, targets: Floats | Indices) -> float:
    """The temperature that minimises the cross-entropy on held-out images (Guo et al. 2017).

    Fit it on validation images, never on training images. 1.0 where there are none. Raises ``BadParameter``
    where the logits are not finite.
    """
    if not len(logits):
        return 1.0
    if not np.isfinite(logits).all():
        raise BadParameter(NOT_FINITE)

    def loss(log_temperature: float) -> float:
        fit = float(losses(logits, targets, float(np.exp(log_temperature))).sum())
        return fit + _PRIOR * log_temperature**2

    found = minimize_scalar(loss, bounds=(np.log(_LEAST), np.log(_MOST)), method="bounded")
    return round(float(np.exp(found.x)), 4)


def reliability(logits: Floats, targets: Indices, temperature: float = 1.0, bins: int = BINS) -> Reliability:
    """Confidence against accuracy, for label indices ``(n,)``."""
    predicted = softmax(logits, temperature)
    top = predicted.max(axis=1)
    correct = predicted.argmax(axis=1) == targets
    place = np.clip(np.ceil(top * bins).astype(int) - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        confidence = np.bincount(place, top, bins) / counts
        accuracy = np.bincount(place, correct, bins) / counts
    return Reliability(edges=np.linspace(0.0, 1.0, bins + 1), counts=counts, confidence=confidence, accuracy=accuracy)
