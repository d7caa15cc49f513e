"""The end of a run: export, measure on the test images through the serving runtime, report, store."""

import shutil
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models import store
from models.card import Card, Export, WeightsProvenance
from models.classifier import Classifier, head_arrays
from models.export import export_openvino
from models.runtime import Runtime, open_runtime
from models.store import HEAD_FILE, KERAS_FILE, StoredModel
from training import evaluation, report
from training.checkpoint import Progress
from training.config import TrainSettings
from training.dataset import Dataset, Sample, load_batch
from training.runs import mark_done

Floats = NDArray[np.float32]
_BATCH = 16
_PACKAGES = ("tensorflow", "keras", "openvino", "numpy", "pillow", "catseye")


def logits_of(runtime: Runtime, samples: Sequence[Sample], size: tuple[int, int]) -> Floats:
    """Logits (samples, classes) through the decode and the runtime that serve."""
    parts = [
        runtime.run(load_batch(samples[i : i + _BATCH], size))["logits"] for i in range(0, len(samples), _BATCH)
    ]
    return np.concatenate(parts)


def keep(
    classifier: Classifier,
    provenance: WeightsProvenance,
    settings: TrainSettings,
    dataset: Dataset,
    folder: Path,
    phases: Sequence[Progress],
    notes: Sequence[str],
) -> StoredModel:
    """Export, calibrate on the validation images, measure on the test images, write the report, store."""
    staging = folder / "model"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    exports = export_all(classifier, staging)
    draft = Card(
        name=settings.name,
        labels=dataset.labels,
        backbone=classifier.backbone.name,
        input_size=classifier.input_size,
        weights=provenance,
        data=dataset.fingerprint,
        split=dataset.split,
        settings=settings.as_dict(),
        taps=classifier.taps,
        head=classifier.head,
        exports=exports,
        parameters=classifier.model.count_params(),
        variant_of=settings.variant_of,
        versions=versions(),
    )
    runtime = open_runtime(StoredModel(draft.name, "draft", staging, draft), hint="throughput")
    try:
        card = evaluation.measured(draft, runtime, dataset)
    finally:
        runtime.close()
    return finish(card, staging, folder, notes)
