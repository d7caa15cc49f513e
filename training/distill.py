"""``catseye distill``: train a fast student on a stored teacher, and compare it with the same network without one."""

import json
import timeit
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from math import sqrt
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from models.card import Card, Distillation, Metrics, Split
from models.errors import BadData, BadParameter
from models.runtime.open import open_runtime
from models.store.store import StoredModel, check_name
from training.config import TrainSettings, catseye_home
from training.console import console, plain_table, print_table
from training.data.dataset import Dataset, Fractions, labels_of, read_dataset
from training.evaluate.calibration import fit_temperature
from training.evaluate.metrics import accuracy_text, as_percent, evaluate
from training.pipeline import learn
from training.publish.choose_precision import Predictions
from training.publish.publish import export_and_measure, store_measured
from training.runs import held, mark_done, new_run, read_settings

_STUDENTS_OWN = frozenset({"name", "backbone", "weights", "freeze", "size", "seed", "variant_of", "teacher"})
"""Settings that a student does not take from its teacher."""


@dataclass(frozen=True, kw_only=True)
class StudentSettings:
    """The options of ``catseye distill``; all other settings are the teacher's."""

    backbone: str = "mobilenet_v2"
    name: str | None = None
    """The teacher's name and ``-fast`` by default."""
    weights: str = "auto"
    freeze: str = "auto"
    size: int | None = None
    head_epochs: int | None = None
    epochs: int | None = None
    temperature: float = 2.0
    teacher_share: float = 0.7


@dataclass(frozen=True)
class Gain:
    """Difference in accuracy of two networks on the same images, with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        value, low, high = (f"{100 * share:+.1f}" for share in (self.value, self.low, self.high))
        return f"{value} points (95 % interval {low} to {high})"


def distill(teacher: StoredModel, student: StudentSettings, data: Path | None = None) -> StoredModel:
    """Train the student with and without the teacher, store the taught one as the fast variant, and report the gain.

    Both have the teacher's split and seed, so that no test image of the teacher's is ever trained on.
    Raises BadData where the images are not those that the teacher was trained on, or none of them are test images.
    """
    settings = student_settings(teacher, student)
    data = data or data_of(teacher)
    dataset = same_images(teacher.card, data)
    if not dataset.test:
        raise BadData("The teacher held out no test images, so a gain cannot be measured. Train it with some.")
    truth = labels_of(dataset.test)
    console.print(f"Student without a teacher: {settings.backbone}.", highlight=False)
    alone = settings.with_changes(name=f"{settings.name}-direct", teacher=None, variant_of=None)
    folder = new_run(alone, data)
    with held(folder), export_and_measure(learn(dataset, alone, folder), int8=False) as measured:
        before = measured.float32
    mark_done(folder, "none: beside a student")
    console.print(f"The same student, taught by {teacher.tag}.", highlight=False)
    folder = new_run(settings, data)
    with held(folder), export_and_measure(outcome := learn(dataset, settings, folder)) as measured:
        after = measured.float32
        direct, taught = (evaluated(outputs, dataset) for outputs in (before, after))
        gain = gain_of(before.test.argmax(1) == truth, after.test.argmax(1) == truth)
        text = f"Distillation gained {gain} over training the same network directly: {accuracy_text(direct)}."
        distillation = Distillation(
            teacher=teacher.tag,
            temperature=settings.temperature,
            share=settings.teacher_share,
            gain=gain.value,
            gain_low=gain.low,
            gain_high=gain.high,
            direct=direct,
        )
        outcome = replace(outcome, notes=[*outcome.notes, text], distillation=distillation)
        stored = store_measured(outcome, measured)
    print_table(comparison_table(teacher, stored, direct, taught))
    console.print(text, highlight=False)
    return stored


def student_settings(teacher: StoredModel, student: StudentSettings) -> TrainSettings:
    """All settings of the student: its own options, and the teacher's settings for the rest."""
    check_name(teacher.name)
    known = TrainSettings.model_fields.keys() - _STUDENTS_OWN
    taken = {key: value for key, value in teacher.card.settings.items() if key in known}
    own = {key: value for key, value in asdict(student).items() if value is not None}
    own["name"] = student.name or f"{teacher.name}-fast"
    if own["name"] == teacher.name:
        raise BadParameter(f"The student cannot have its teacher's name, {teacher.name}. Give another --name.")
    seed = teacher.card.split.seed if teacher.card.split is not None else 0
    whole = taken | own | {"seed": seed, "teacher": teacher.tag, "variant_of": teacher.name}
    return TrainSettings.from_dict(whole)


def data_of(teacher: StoredModel) -> Path:
    """The images that the teacher's run read, if that run is still in ``CATSEYE_HOME``; else BadParameter."""
    for path in (catseye_home() / "runs").glob("*/stored.json"):
        if json.loads(path.read_text("utf-8")).get("model") == teacher.tag:
            return read_settings(path.parent)[1]
    raise BadParameter(
        f"The run that trained {teacher.tag} is not in {catseye_home()}, so its images are not known. "
        f"Name them: catseye distill {teacher.tag} DATA."
    )


def same_images(teacher: Card, data: Path) -> Dataset:
    """The teacher's images with the teacher's split; BadData in one sentence where they differ."""
    known, split = teacher.data, teacher.split
    if known is None or split is None:
        raise BadData(
            f"The card of {teacher.name} does not say which images it was trained on, so its test images cannot be "
            "held out again. Distil a model that `catseye train` made."
        )
    shares = Fractions(validation=split.validation / known.images, test=split.test / known.images)
    dataset = read_dataset(data, seed=split.seed, fractions=shares)
    if dataset.fingerprint.sha256 != known.sha256:
        raise BadData(f"{data} is not what {teacher.name} was trained on: {_difference(teacher, dataset)}.")
    if dataset.split != split:
        raise BadData(
            f"{data} splits the images of {teacher.name} differently now: {_parts(dataset.split)} instead of "
            f"{_parts(split)}, and a student must not see its teacher's test images."
        )
    return dataset


def gain_of(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> Gain:
    """The gain in accuracy from the correct predictions (images,) of two networks on the same images.

    Paired (Wald's interval of McNemar's difference): images that both get right, or both wrong, do not count.
    """
    images = len(before)
    better, worse = int(np.sum(after & ~before)), int(np.sum(before & ~after))
    value = (better - worse) / images
    half = 1.96 * sqrt(max(0.0, better + worse - (better - worse) ** 2 / images)) / images
    return Gain(value, max(-1.0, value - half), min(1.0, value + half))


def comparison_table(teacher: StoredModel, student: StoredModel, direct: Metrics, taught: Metrics) -> Table:
    """Teacher, student without and with it: size, weights, time per image on this machine, test accuracy."""
    table = plain_table()
    for heading in ("", "network", "pixels", "weights", "ms per image", "test accuracy", "95 % interval"):
        table.add_column(heading, justify="left" if heading in ("", "network") else "right")
    slow, fast = (milliseconds(model) for model in (teacher, student))
    rows = (("teacher", teacher, slow, teacher.card.metrics), ("student alone", student, fast, direct))
    for title, model, duration, metrics in (*rows, ("student, taught", student, fast, taught)):
        card = model.card
        table.add_row(
            title,
            card.backbone,
            str(card.input_size[0]),
            f"{card.parameters:,}",
            f"{duration:.1f}",
            as_percent(metrics.accuracy) if metrics else "",
            f"{as_percent(metrics.accuracy_low)} to {as_percent(metrics.accuracy_high)}" if metrics else "",
        )
    return table


def evaluated(outputs: Predictions, dataset: Dataset) -> Metrics:
    """The metrics of the test images, calibrated on the validation images."""
    temperature = fit_temperature(outputs.validation, labels_of(dataset.validation))
    return evaluate(outputs.test, labels_of(dataset.test), dataset.labels, temperature)


def milliseconds(model: StoredModel, runs: int = 30) -> float:
    """Median time of one image through the serving runtime in float32, without decoding."""
    image = np.zeros((1, *model.card.input_size, 3), np.uint8)
    with closing(open_runtime(model, precision="float32")) as runtime:
        return 1000 * median(timeit.repeat(lambda: runtime.run(image), repeat=runs, number=1))


def _difference(teacher: Card, dataset: Dataset) -> str:
    known = teacher.data.classes if teacher.data is not None else {}
    counts = dataset.fingerprint.classes
    for label in sorted(known.keys() | counts.keys()):
        if known.get(label) != counts.get(label):
            return f"it has {counts.get(label, 0)} images of {label!r}, the teacher had {known.get(label, 0)}"
    return "as many images of every class, but not the same ones"


def _parts(split: Split) -> str:
    return f"{split.train} to train, {split.validation} to validate, {split.test} to test"
