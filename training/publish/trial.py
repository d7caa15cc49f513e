"""A trained network answering through the serving runtime without being stored: what comparisons measure."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.card import Card, Metrics
from models.runtime.base import Runtime
from models.runtime.open import open_runtime
from models.store.store import StoredModel
from training.data.dataset import Sample, labels_of
from training.evaluate.metrics import evaluate, fit_temperature
from training.publish.publish import Outcome, draft, export_files, logits_of

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Trial:
    """A network that is not in the store, and the float32 runtime over it."""

    card: Card
    runtime: Runtime
    outcome: Outcome

    def logits(self, samples: tuple[Sample, ...]) -> Floats:
        """Logits (samples, classes)."""
        return logits_of(self.runtime, samples, self.card)

    def metrics(self, logits: Floats) -> Metrics:
        """The figures of the test images' logits, calibrated on the validation images as a stored model is."""
        dataset = self.outcome.dataset
        held = self.logits(dataset.validation)
        temperature = fit_temperature(held, labels_of(dataset.validation)) if len(held) else 1.0
        return evaluate(logits, labels_of(dataset.test), dataset.labels, temperature)


@contextmanager
def trial(outcome: Outcome) -> Iterator[Trial]:
    """Export a trained network into its run folder, run it, and remove the export again."""
    folder = outcome.folder / "model"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        card = draft(outcome, export_files(outcome.classifier, folder))
        runtime = open_runtime(StoredModel(card.name, "draft", folder, card), precision="float32", hint="throughput")
        try:
            yield Trial(card, runtime, outcome)
        finally:
            runtime.close()
    finally:
        shutil.rmtree(folder)
