"""Choose the precision that a model is served in: the fastest one within the allowed drop in accuracy.

Int8 of MobileNetV2 has 1.4 to 1.6 times the throughput of float32 where the processor has AVX2 only
(``benchmarks/runtime.py``), and more where it has VNNI. It is quantised from the float network after training, with
ranges taken from training images through the serving decode. Where that loses too much, bfloat16 is tried on processors
that have it: 1.6 to 1.7 times the throughput of float32, without a file of its own.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np

from models.arrays import Floats, Pixels
from models.card import Export, Precision
from models.environment import has_bfloat16
from models.export.int8 import preset_for, quantize
from models.runtime.open import open_runtime
from models.store.store import StoredModel
from training.data.dataset import Dataset, Sample, labels_of, load_batch
from training.evaluate.metrics import logits_of

CALIBRATION_IMAGES = 200
"""Training images that set the ranges of int8; NNCF's own default is 300."""
FLOAT_CONVOLUTIONS = (0, 5)
"""Number of first convolutions that stay in float32: 0, or if that loses too much, 5. On the demo 5 of 52 cost a tenth
of int8's throughput and raise the agreement of its predictions with float32's from 96 to 98 % (decision 0009)."""
HEAD_IMAGES = 2000
"""Training images, at most, that the head of int8 is fitted on."""
_BATCH = 16


@dataclass(frozen=True)
class Predictions:
    """Logits (samples, classes) of the held-out images in one precision."""

    precision: Precision
    validation: Floats
    test: Floats


@dataclass(frozen=True)
class Choice:
    """The outputs of the precision that serves and of float32, every export with its accuracy, and the reason."""

    served: Predictions
    float32: Predictions
    exports: tuple[Export, ...]
    reason: str = ""
    """Empty where there was nothing to choose from."""


def choose(model: StoredModel, dataset: Dataset, *, int8: bool, most_drop: float) -> Choice:
    """Measure the float32 export of a ``model``; with ``int8`` quantise it, measure that too, and choose.

    Accuracy is that of the test images, or without any that of the validation images. ``most_drop`` is in points
    (hundredths) of it.
    """
    drawn = _drawn(dataset, HEAD_IMAGES) if int8 else []
    plain, drawn_logits = _run(model, dataset, "float32", drawn)
    float_accuracy = accuracy(plain, dataset)
    exports: tuple[Export, ...] = (model.card.exports[0].model_copy(update={"accuracy": float_accuracy}),)
    if not int8:
        return Choice(plain, plain, exports)
    if float_accuracy is None:
        return Choice(plain, plain, exports, "Serves float32: no image is held out to measure int8 by.")
    images = _measured_on(dataset)
    for float_convolutions in FLOAT_CONVOLUTIONS:
        served, export = quantized(model, dataset, float_convolutions, drawn, drawn_logits)
        precision, reason = decide(float_accuracy, export.accuracy or 0.0, most_drop, images)
        if precision == "int8":
            break
    else:
        served = plain
        if has_bfloat16():
            half, _ = _run(model, dataset, "bfloat16")
            half_accuracy = accuracy(half, dataset)
            precision, reason = decide(float_accuracy, export.accuracy or 0.0, most_drop, images, half_accuracy)
            served = half if precision == "bfloat16" else plain
    exports += (export.model_copy(update={"note": f"{export.note}. {reason}"}),)
    return Choice(served, plain, exports, reason)


def quantized(
    model: StoredModel, dataset: Dataset, float_convolutions: int, drawn: Sequence[Sample], drawn_logits: Floats
) -> tuple[Predictions, Export]:
    """Write the int8 export, its head fitted on the ``drawn`` training images, and measure it."""
    card = model.card
    images = list(load_batch(_drawn(dataset, CALIBRATION_IMAGES), card.input_size))
    refit_on = _batches(drawn, drawn_logits, card.input_size)
    export = quantize(model.path, images, preset_for(card.backbone), spared=float_convolutions, refit_on=refit_on)
    card = card.model_copy(update={"exports": (*card.exports, export)})
    outputs, _ = _run(replace(model, card=card), dataset, "int8")
    return outputs, export.model_copy(update={"accuracy": accuracy(outputs, dataset)})


def accuracy(outputs: Predictions, dataset: Dataset) -> float | None:
    """Accuracy on the test images, without any on the validation images, without either None."""
    for logits, samples in ((outputs.test, dataset.test), (outputs.validation, dataset.validation)):
        if samples:
            return float(np.mean(logits.argmax(1) == labels_of(samples)))
    return None


def decide(
    plain: float, int8: float, most_drop: float, images: str, bfloat16: float | None = None
) -> tuple[Precision, str]:
    """What serves, and why, from the accuracies of float32, int8 and, where it was tried, bfloat16 on ``images``."""
    drop = 100 * (plain - int8)
    facts = f"on {images} int8 has accuracy {int8:.2%}, float32 {plain:.2%}"
    # A drop of exactly the bound is allowed, however the division was rounded.
    most = most_drop + 1e-9
    if drop <= most:
        return "int8", f"Serves int8: {facts} (a drop of {most_drop:g} points is allowed)."
    if bfloat16 is not None:
        facts += f", bfloat16 {bfloat16:.2%}"
    why = f"{facts}: int8 drops by {drop:.2f} points where {most_drop:g} are allowed"
    if bfloat16 is None or 100 * (plain - bfloat16) > most:
        return "float32", f"Serves float32: {why}."
    return "bfloat16", f"Serves bfloat16: {why}."


def _measured_on(dataset: Dataset) -> str:
    part, samples = ("test", dataset.test) if dataset.test else ("validation", dataset.validation)
    return f"{len(samples)} {part} images"


def _run(
    model: StoredModel, dataset: Dataset, precision: Precision, others: Sequence[Sample] = ()
) -> tuple[Predictions, Floats]:
    """The outputs for the held-out images, and logits (others, classes) of other ones."""
    with closing(open_runtime(model, precision=precision, hint="throughput")) as runtime:
        parts = (dataset.validation, dataset.test, others)
        validation, test, more = (logits_of(runtime, part, model.card) for part in parts)
    return Predictions(precision, validation, test), more


def _batches(samples: Sequence[Sample], logits: Floats, size: tuple[int, int]) -> Iterator[tuple[Pixels, Floats]]:
    """Images, decoded as in serving, with their logits."""
    for start in range(0, len(samples), _BATCH):
        part = slice(start, start + _BATCH)
        yield load_batch(samples[part], size), logits[part]


def _drawn(dataset: Dataset, most: int) -> list[Sample]:
    """Training images drawn with the split's seed."""
    order = np.random.default_rng(dataset.split.seed).permutation(len(dataset.train))[:most]
    return [dataset.train[i] for i in order]
