"""Which of the four ways to freeze a network suits the data: the lecture's last slide, measured.

Two questions decide. *How much data?* counts the images of the smallest class. *How like the data the
network was trained on?* asks how well its frozen features already tell the classes apart, as Cohen's kappa
of the head trained on them alone (1: always right, 0: no better than chance).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.network.freezing import Freeze

MUCH = 1000
"""Images of the smallest class from which data count as much."""
ALIKE = 0.9
"""Kappa of the frozen features from which data count as like those of the pretraining."""


@dataclass(frozen=True)
class Choice:
    """A way to freeze, and why."""

    freeze: Freeze
    reason: str


def choose(smallest_class: int, kappa: float | None) -> Choice:
    """The way for that much data and that likeness; ``kappa`` None means that nothing could be measured."""
    if kappa is None:
        return Choice("head", "there are no validation images to measure a likeness by, so the base stays as it is")
    much, alike = smallest_class >= MUCH, kappa >= ALIKE
    facts = (
        f"the smallest class has {smallest_class} training images ({'much' if much else 'little'}, from {MUCH} on), "
        f"frozen features reach a kappa of {kappa:.2f} ({'alike' if alike else 'unlike'}, from {ALIKE} on)"
    )
    if much and not alike:
        return Choice("none", f"{facts}: train everything")
    if much:
        return Choice("few", f"{facts}: train all but the early layers")
    if alike:
        return Choice("head", f"{facts}: train the classifier alone")
    return Choice("most", f"{facts}: train the top of the base")


def kappa(truth: NDArray[np.int64], predicted: NDArray[np.int64]) -> float:
    """Cohen's kappa: agreement beyond what the classes' frequencies give by chance."""
    labels = np.union1d(truth, predicted)
    agreed = float(np.mean(truth == predicted))
    chance = float(sum(np.mean(truth == k) * np.mean(predicted == k) for k in labels))
    return 1.0 if chance >= 1 else (agreed - chance) / (1 - chance)
