"""How much of the network to freeze, chosen by the size of the data set and its similarity to the pretraining data.

Size is the number of training images of the smallest class. Similarity is measured by how well the frozen features
separate the classes: Cohen's kappa, on the validation images, of a head trained on them (1: perfect, 0: chance).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.network.freezing import Freeze

LARGE = 1000
"""Images of the smallest class from which a data set counts as large."""
SIMILAR = 0.9
"""Kappa of the frozen features from which data count as similar to the pretraining data."""


@dataclass(frozen=True)
class Choice:
    """How much to freeze, and why."""

    freeze: Freeze
    reason: str


def choose(smallest_class: int, kappa: float | None) -> Choice:
    """How much to freeze for that size and similarity; ``kappa`` is None where it cannot be measured."""
    if kappa is None:
        return Choice("head", "there are no validation images to measure the similarity to the pretraining data with")
    large, similar = smallest_class >= LARGE, kappa >= SIMILAR
    facts = (
        f"the smallest class has {smallest_class} training images ({'at least' if large else 'fewer than'} {LARGE}), "
        f"and a classifier on frozen features reaches a kappa of {kappa:.2f} "
        f"({'at least' if similar else 'less than'} {SIMILAR})"
    )
    if large and not similar:
        return Choice("none", f"{facts}: train all layers")
    if large:
        return Choice("few", f"{facts}: train all but the early layers")
    if similar:
        return Choice("head", f"{facts}: train the new classifier only")
    return Choice("most", f"{facts}: train the last layers")


def kappa(truth: NDArray[np.int64], predicted: NDArray[np.int64]) -> float:
    """Cohen's kappa: agreement beyond what the classes' frequencies give by chance."""
    from sklearn.metrics import cohen_kappa_score

    return 1.0 if np.array_equal(truth, predicted) else float(cohen_kappa_score(truth, predicted))
