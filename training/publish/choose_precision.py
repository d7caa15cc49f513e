"""Which precision a model is served in: the fastest that costs next to nothing on the held-out images.

Int8 of MobileNetV2 runs 1.4 to 1.6 times as many images a second as float32 where the processor has AVX2 only
(``benchmarks/runtime.py``), and more where it has VNNI. It is rounded from the float network after training, with
ranges taken from training images through the serving decode. Where that loses too much, bfloat16 is tried on processors
that have it: 1.6 to 1.7 times as many as float32, without a file of its own.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.card import Card, Export, Precision
from models.environment import has_bfloat16
from models.export.openvino import preset_for, quantize
from models.runtime.base import Runtime
from models.runtime.open import open_runtime
from models.store.store import StoredModel
from training.data.dataset import Dataset, Sample, labels_of, load_batch

Floats = NDArray[np.float32]
CALIBRATION_IMAGES = 200
"""Training images that set the ranges of int8; NNCF's own default is 300."""
SPARED = (0, 5)
"""Convolutions at the pixels' end that stay in float32: none, or where that loses too much so many. On the demo five of
52 cost a tenth of int8's speed and bring its answers from 96 to 98 % the same as float32's (decision 0020)."""
HEAD_IMAGES = 2000
"""Training images, at most, that the head of int8 is fitted on."""
_BATCH = 16


@dataclass(frozen=True)
class Answers:
    """Logits (samples, classes) of the held-out images in one precision."""

    precision: Precision
    validation: Floats
    test: Floats


@dataclass(frozen=True)
class Choice:
    """The answers of the precision that serves, every export with its accuracy, and why."""

    answers: Answers
    exports: tuple[Export, ...]
    reason: str = ""
    """Empty where there was nothing to choose from."""


def logits_of(runtime: Runtime, samples: Sequence[Sample], card: Card) -> Floats:
    """Logits (samples, classes) through the decode and the runtime that serve, in the samples' order."""
    if not samples:
        return np.empty((0, len(card.labels)), np.float32)
    parts = (samples[i : i + _BATCH] for i in range(0, len(samples), _BATCH))
    with ThreadPoolExecutor(runtime.streams) as pool:
        return np.concatenate(
            list(pool.map(lambda part: runtime.run(load_batch(part, card.input_size))["logits"], parts))
        )


def draft_runtime(card: Card, folder: Path, precision: Precision) -> Runtime:
    """The runtime that serves, over a model's folder that is not in the store yet."""
    return open_runtime(StoredModel(card.name, "draft", folder, card), precision=precision, hint="throughput")


def choose(card: Card, folder: Path, dataset: Dataset, *, int8: bool, most_drop: float) -> Choice:
    """Measure the float32 export of a model's ``folder``; with ``int8`` quantise it, measure that too, and choose.

    Accuracy is that of the test images, without any that of the validation images. ``most_drop`` is in points
    (hundredths) of it.
    """
    drawn = _drawn(dataset, HEAD_IMAGES) if int8 else []
    plain, taught = _answers(card, folder, dataset, "float32", drawn)
    exports: tuple[Export, ...] = (card.exports[0].model_copy(update={"accuracy": accuracy(plain, dataset)}),)
    if not int8:
        return Choice(plain, exports)
    if exports[0].accuracy is None:
        return Choice(plain, exports, "Serves float32: no image is held out to measure int8 by.")
    images = _measured_on(dataset)
    for spared in SPARED:
        answers, small = _rounded(card, folder, dataset, spared, _batches(drawn, taught, card))
        chosen, reason = decide(exports[0].accuracy, small.accuracy or 0.0, most_drop, images)
        if chosen == "int8":
            break
    if chosen != "int8":
        answers = plain
        if has_bfloat16():
            halved, _ = _answers(card, folder, dataset, "bfloat16")
            half = accuracy(halved, dataset)
            chosen, reason = decide(exports[0].accuracy, small.accuracy or 0.0, most_drop, images, half)
            answers = halved if chosen == "bfloat16" else plain
    exports += (small.model_copy(update={"note": f"{small.note}. {reason}"}),)
    return Choice(answers, exports, reason)


def _rounded(
    card: Card, folder: Path, dataset: Dataset, spared: int, refit_on: Iterable[tuple[NDArray[np.uint8], Floats]]
) -> tuple[Answers, Export]:
    """Write the int8 export and measure it."""
    calibration = list(load_batch(_drawn(dataset, CALIBRATION_IMAGES), card.input_size))
    export = quantize(folder, calibration, preset_for(card.backbone), spared=spared, refit_on=refit_on)
    card = card.model_copy(update={"exports": (*card.exports, export)})
    answers, _ = _answers(card, folder, dataset, "int8")
    return answers, export.model_copy(update={"accuracy": accuracy(answers, dataset)})


def accuracy(answers: Answers, dataset: Dataset) -> float | None:
    """Share of test images that are right, without any that of validation images, without either None."""
    for logits, samples in ((answers.test, dataset.test), (answers.validation, dataset.validation)):
        if samples:
            return float(np.mean(logits.argmax(1) == labels_of(samples)))
    return None


def decide(
    plain: float, rounded: float, most_drop: float, images: str, half: float | None = None
) -> tuple[Precision, str]:
    """What serves, and why, from the accuracies of float32, int8 and, where it was tried, bfloat16 on ``images``."""
    drop = 100 * (plain - rounded)
    facts = f"int8 is right on {rounded:.2%} of {images}, float32 on {plain:.2%}"
    # A drop of exactly the bound is within it, however the division was rounded.
    most = most_drop + 1e-9
    if drop <= most:
        return "int8", f"Serves int8: {facts} (it may lose {most_drop:g} points)."
    if half is not None:
        facts += f", bfloat16 on {half:.2%}"
    why = f"{facts}: int8 loses {drop:.2f} points where {most_drop:g} are allowed"
    if half is None or 100 * (plain - half) > most:
        return "float32", f"Serves float32: {why}."
    return "bfloat16", f"Serves bfloat16: {why}."


def _measured_on(dataset: Dataset) -> str:
    part, samples = ("test", dataset.test) if dataset.test else ("validation", dataset.validation)
    return f"{len(samples)} {part} images"


def _answers(
    card: Card, folder: Path, dataset: Dataset, precision: Precision, others: Sequence[Sample] = ()
) -> tuple[Answers, Floats]:
    """The answers to the held-out images, and logits (others, classes) of other ones."""
    runtime = draft_runtime(card, folder, precision)
    try:
        held, test, more = (logits_of(runtime, part, card) for part in (dataset.validation, dataset.test, others))
    finally:
        runtime.close()
    return Answers(precision, held, test), more


def _batches(samples: Sequence[Sample], logits: Floats, card: Card) -> Iterator[tuple[NDArray[np.uint8], Floats]]:
    """Images, decoded as in serving, with their logits."""
    for start in range(0, len(samples), _BATCH):
        part = slice(start, start + _BATCH)
        yield load_batch(samples[part], card.input_size), logits[part]


def _drawn(dataset: Dataset, most: int) -> list[Sample]:
    """Training images drawn by the split's seed."""
    order = np.random.default_rng(dataset.split.seed).permutation(len(dataset.train))[:most]
    return [dataset.train[i] for i in order]
