"""How far recent predictions are from those on the held-out images: the population stability index.

PSI = sum over bins of (share now - share then) * ln(share now / share then); below 0.1 is commonly read
as no change, above 0.25 as a change to look into (Siddiqi 2006, "Credit Risk Scorecards").
"""

import math
import threading
from collections import Counter, deque
from collections.abc import Sequence

import numpy as np

from models.card import Card
from service.metrics import DRIFT

WINDOW = 1000
"""Predictions in the sliding window."""
LEAST = 200
"""Predictions before anything is said."""
_EVERY = 50
_FLOOR = 1e-3


class DriftWatch:
    """The last predictions of one model beside its card's reference."""

    def __init__(self, model: str, card: Card) -> None:
        self._model = model
        self._card = card
        self._seen: deque[tuple[str, int]] = deque(maxlen=WINDOW)
        self._lock = threading.Lock()
        self._since = 0

    def add(self, label: str, confidence: float) -> None:
        """Note one prediction; from time to time the metric is set anew."""
        reference = self._card.reference
        if reference is None:
            return
        place = int(np.searchsorted(reference.confidence_edges, confidence, side="right")) - 1
        with self._lock:
            self._seen.append((label, min(max(place, 0), len(reference.confidence) - 1)))
            self._since += 1
            if len(self._seen) < LEAST or self._since < _EVERY:
                return
            self._since = 0
            seen = list(self._seen)
        labels, bins = (Counter(part) for part in zip(*seen, strict=True))
        now = [labels[name] / len(seen) for name in self._card.labels]
        then = [reference.classes.get(name, 0.0) for name in self._card.labels]
        DRIFT.labels(self._model, "class").set(psi(now, then))
        shares = [bins[index] / len(seen) for index in range(len(reference.confidence))]
        DRIFT.labels(self._model, "confidence").set(psi(shares, reference.confidence))


def psi(now: Sequence[float], then: Sequence[float]) -> float:
    """Population stability index of two distributions over the same bins; empty bins count as 0.1 %."""
    pairs = [(max(a, _FLOOR), max(b, _FLOOR)) for a, b in zip(now, then, strict=True)]
    return sum((a - b) * math.log(a / b) for a, b in pairs)
