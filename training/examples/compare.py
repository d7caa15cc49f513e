"""``catseye compare``: a multilayer perceptron, a small CNN, feature extraction and fine-tuning on one split.

The lecture's argument as a measurement: how many weights each takes, how long it trains, how often it is right,
and how much of that is left when the test images are moved.
"""

import csv
import io
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from models.errors import BadData
from models.files import write_whole
from training.config import TrainSettings
from training.data.dataset import Dataset, labels_of, load_batch, read_dataset
from training.evaluate.metrics import as_percent, wilson_interval
from training.examples.shifts import SHARES, right_when_shifted
from training.pipeline import learn
from training.publish.trial import trial
from training.report.figures import figures_table, show_whole
from training.report.plots import Line, accuracy_lines
from training.report.progress import console, images_bar
from training.runs import held, mark_done, new_run

PLOT_FILE, TABLE_FILE = "compare.png", "compare.csv"


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """One way to train, by its settings."""

    title: str
    settings: TrainSettings


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one way reached on the test images."""

    title: str
    backbone: str
    pixels: int
    weights: int
    """Of the whole network, its head included."""
    seconds: float
    """Training only: features, both phases; neither reading the data nor measuring."""
    images: int
    right: tuple[int, ...]
    """Test images that are right at each shift of ``SHARES``."""

    @property
    def accuracies(self) -> tuple[float, ...]:
        """Accuracy at each shift."""
        return tuple(count / self.images for count in self.right)


def contestants(settings: TrainSettings) -> tuple[Contestant, ...]:
    """The four ways; ``settings`` say how the pretrained network is trained, and all that they share."""
    plain = settings.with_changes(weights="none", freeze="auto", depths="last")
    freeze = settings.freeze if settings.freeze not in ("auto", "head") else "most"
    return (
        Contestant(title="MLP", settings=plain.with_changes(backbone="mlp")),
        Contestant(title="small CNN", settings=plain.with_changes(backbone="cnn")),
        Contestant(title="feature extraction", settings=settings.with_changes(freeze="head")),
        Contestant(title="fine-tuning", settings=settings.with_changes(freeze=freeze)),
    )


def compare(data: Path, settings: TrainSettings) -> list[Result]:
    """Train the four ways on the same split, measure them, and leave table, CSV and plot in a run folder.

    Nothing goes to the store. Raises BadData where no test images are held out.
    """
    dataset = read_dataset(data, seed=settings.seed)
    if not dataset.test:
        raise BadData(f"{data} holds out no test images, so there is nothing to compare by. Leave some out.")
    folder = new_run(settings, data)
    results = []
    for contestant in contestants(settings):
        console.rule(contestant.title)
        results.append(_result(contestant, dataset, data))
    write_whole(folder / TABLE_FILE, as_csv(results))
    lines = [Line(result.title, result.accuracies, tuple(_interval(result))) for result in results]
    write_whole(folder / PLOT_FILE, accuracy_lines(SHARES, lines))
    mark_done(folder, "none: a comparison")
    show_whole(as_table(results), f"{results[0].images} test images, moved by a share of their side")
    console.print(f"Table and plot: {folder}", highlight=False)
    return results


def _result(contestant: Contestant, dataset: Dataset, data: Path) -> Result:
    settings, truth, test = contestant.settings, labels_of(dataset.test), dataset.test
    folder = new_run(settings, data)
    start = time.monotonic()
    with held(folder):
        outcome = learn(dataset, settings, folder)
    seconds = time.monotonic() - start
    with trial(outcome) as network, images_bar("Measuring at six shifts", len(test)) as advance:
        size = outcome.classifier.input_size
        right = right_when_shifted(
            lambda pixels: network.runtime.run(pixels)["logits"],
            lambda first, last: load_batch(test[first:last], size),
            truth,
            advance=advance,
        )
    mark_done(folder, "none: part of a comparison")
    return Result(
        title=contestant.title,
        backbone=outcome.classifier.backbone.name,
        pixels=size[0],
        weights=outcome.classifier.model.count_params(),
        seconds=seconds,
        images=len(test),
        right=tuple(int(row.sum()) for row in right),
    )


def as_table(results: Sequence[Result]) -> Table:
    """For the screen: accuracy with its interval, then accuracy at each shift."""
    table = figures_table()
    table.add_column("")
    for heading in ("weights", "seconds", "accuracy", "95 % interval", *(f"{share:.0%}" for share in SHARES[1:])):
        table.add_column(heading, justify="right")
    for result in results:
        low, high = next(_interval(result))
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
    """One row for each way and shift, UTF-8."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    columns = ("way", "backbone", "pixels", "weights", "seconds", "images", "shift", "accuracy", "low", "high")
    writer.writerow(columns)
    for result in results:
        own = (result.title, result.backbone, result.pixels, result.weights, f"{result.seconds:.1f}", result.images)
        for share, accuracy, (low, high) in zip(SHARES, result.accuracies, _interval(result), strict=True):
            writer.writerow((*own, share, *(f"{value:.4f}" for value in (accuracy, low, high))))
    return text.getvalue().encode()


def _interval(result: Result) -> Iterator[tuple[float, float]]:
    for count in result.right:
        yield wilson_interval(count, result.images)
