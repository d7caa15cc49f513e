"""``catseye compare``: a multilayer perceptron, a small CNN, feature extraction and fine-tuning on one split.

The lecture's argument as a measurement: how many weights each has, how long it trains, its accuracy, and its accuracy
on shifted test images.
"""

import csv
import io
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from models.arrays import Floats, Pixels
from models.errors import BadData
from models.files import write_whole
from models.runtime.open import open_runtime
from training.config import TrainSettings
from training.console import console, images_bar, plain_table, print_table
from training.data.dataset import Dataset, labels_of, load_batch, read_dataset
from training.evaluate.metrics import as_percent, wilson_interval
from training.pipeline import learn
from training.publish.publish import export_outcome
from training.report.plots import Line, accuracy_lines
from training.runs import held, mark_done, new_run

PLOT_FILE, TABLE_FILE = "compare.png", "compare.csv"
SHARES = (0.0, 0.05, 0.10, 0.15, 0.20, 0.25)
"""Shifts of the test images, as shares of the side."""
DIRECTIONS = ((0, 1), (1, 0), (0, -1), (-1, 0))
"""(down, right) of one step: right, down, left, up."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one method reached on the test images."""

    title: str
    backbone: str
    pixels: int
    weights: int
    """Of the whole network, its head included."""
    seconds: float
    """Training only: features, both phases; neither reading the data nor measuring."""
    images: int
    correct: tuple[int, ...]
    """Test images that are classified correctly at each shift of ``SHARES``."""

    @property
    def accuracies(self) -> tuple[float, ...]:
        """Accuracy at each shift."""
        return tuple(count / self.images for count in self.correct)


def methods(settings: TrainSettings) -> dict[str, TrainSettings]:
    """The settings of the four methods by title; ``settings`` are the pretrained network's, and the shared ones."""
    scratch = settings.with_changes(weights="none", freeze="auto", depths="last")
    freeze = settings.freeze if settings.freeze not in ("auto", "head") else "most"
    return {
        "MLP": scratch.with_changes(backbone="mlp"),
        "small CNN": scratch.with_changes(backbone="cnn"),
        "feature extraction": settings.with_changes(freeze="head"),
        "fine-tuning": settings.with_changes(freeze=freeze),
    }


def compare(data: Path, settings: TrainSettings) -> list[Result]:
    """Train the four methods on the same split, measure them, and leave table, CSV and plot in a run folder.

    Nothing is stored. Raises BadData where no test images are held out.
    """
    dataset = read_dataset(data, seed=settings.seed)
    if not dataset.test:
        raise BadData(f"{data} holds out no test images, so there is nothing to compare by. Leave some out.")
    folder = new_run(settings, data)
    results = [_result(title, each, dataset, data) for title, each in methods(settings).items()]
    write_whole(folder / TABLE_FILE, as_csv(results))
    lines = [Line(result.title, result.accuracies, tuple(_intervals(result))) for result in results]
    write_whole(folder / PLOT_FILE, accuracy_lines(SHARES, lines))
    mark_done(folder, "none: a comparison")
    print_table(as_table(results), f"{results[0].images} test images, as they are and shifted by a share of the side")
    console.print(f"Table and plot: {folder}", highlight=False)
    return results


def _result(title: str, settings: TrainSettings, dataset: Dataset, data: Path) -> Result:
    console.rule(title)
    truth, test = labels_of(dataset.test), dataset.test
    folder = new_run(settings, data)
    start = time.monotonic()
    with held(folder):
        outcome = learn(dataset, settings, folder)
    seconds = time.monotonic() - start
    size = outcome.classifier.input_size
    with (
        export_outcome(outcome) as model,
        closing(open_runtime(model, precision="float32", hint="throughput")) as runtime,
        images_bar("Measuring at six shifts", len(test)) as advance,
    ):
        correct = correct_when_shifted(
            lambda pixels: runtime.run(pixels)["logits"],
            lambda first, last: load_batch(test[first:last], size),
            truth,
            advance=advance,
        )
    mark_done(folder, "none: part of a comparison")
    return Result(
        title=title,
        backbone=outcome.classifier.backbone.name,
        pixels=size[0],
        weights=outcome.classifier.model.count_params(),
        seconds=seconds,
        images=len(test),
        correct=tuple(int(row.sum()) for row in correct),
    )


def as_table(results: Sequence[Result]) -> Table:
    """For the screen: accuracy with its interval, then accuracy at each shift."""
    table = plain_table()
    table.add_column("")
    for heading in ("weights", "seconds", "accuracy", "95 % interval", *(f"{share:.0%}" for share in SHARES[1:])):
        table.add_column(heading, justify="right")
    for result in results:
        low, high = next(_intervals(result))
        table.add_row(
            result.title,
            f"{result.weights:,}",
            f"{result.seconds:.0f}",
            as_percent(result.accuracies[0]),
            f"{as_percent(low)} to {as_percent(high)}",
            *(as_percent(accuracy) for accuracy in result.accuracies[1:]),
        )
    return table


def as_csv(results: Sequence[Result]) -> bytes:
    """One row for each method and shift, UTF-8."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    columns = ("way", "backbone", "pixels", "weights", "seconds", "images", "shift", "accuracy", "low", "high")
    writer.writerow(columns)
    for result in results:
        own = (result.title, result.backbone, result.pixels, result.weights, f"{result.seconds:.1f}", result.images)
        for share, accuracy, (low, high) in zip(SHARES, result.accuracies, _intervals(result), strict=True):
            writer.writerow((*own, share, *(f"{value:.4f}" for value in (accuracy, low, high))))
    return text.getvalue().encode()


def _intervals(result: Result) -> Iterator[tuple[float, float]]:
    for count in result.correct:
        yield wilson_interval(count, result.images)


def shifted(images: Pixels, share: float, first: int = 0) -> Pixels:
    """Images (batch, height, width, 3) shifted by ``share`` of the side, wrapping around at the edges.

    As in the lecture's drawing of pooling, the same pattern is at another position and nothing is lost. Image
    ``first + i`` of a data set is shifted in the direction ``(first + i) % 4``, the same for every network.
    """
    moved = np.empty_like(images)
    for i, image in enumerate(images):
        down, right = DIRECTIONS[(first + i) % len(DIRECTIONS)]
        steps = (round(down * share * image.shape[0]), round(right * share * image.shape[1]))
        moved[i] = np.roll(image, steps, axis=(0, 1))
    return moved


def correct_when_shifted(
    predict: Callable[[Pixels], Floats],
    images: Callable[[int, int], Pixels],
    truth: NDArray[np.int64],
    shares: Sequence[float] = SHARES,
    *,
    batch: int = 16,
    advance: Callable[[int, str], None] = lambda images, text: None,
) -> NDArray[np.bool_]:
    """(shares, images): whether ``predict`` (images -> logits) classifies each image correctly at each shift.

    ``images(start, stop)`` gives the pixels of a slice of the data set, decoded once for all shifts.
    """
    correct = np.zeros((len(shares), len(truth)), bool)
    for start in range(0, len(truth), batch):
        stop = min(start + batch, len(truth))
        pixels = images(start, stop)
        for row, share in zip(correct, shares, strict=True):
            row[start:stop] = predict(shifted(pixels, share, start)).argmax(1) == truth[start:stop]
        advance(stop - start, "")
    return correct
