"""What training prints: progress bars, tables, and the metrics of a model."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from models.card import Metrics

console = Console()
_WIDEST = 1000


class RateColumn(ProgressColumn):
    """Images per second, over the bar's recent past."""

    def render(self, task: Task) -> Text:
        """The rate of one bar; empty until there is one."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f} images/s" if speed else "", style="cyan")


@contextmanager
def images_bar(title: str, total: int) -> Iterator[Callable[[int, str], None]]:
    """A progress bar over ``total`` images; yields a function of images done and a text to show beside the bar."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TextColumn("{task.fields[text]}"),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(title, total=total, text="")

        def advance(images: int, text: str = "") -> None:
            progress.advance(task, images)
            if text:
                progress.update(task, text=text)

        yield advance


def plain_table() -> Table:
    """An empty table with a rule under its headings only."""
    return Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))


def print_table(table: Table, title: str = "") -> None:
    """Print a table with one line for each row: a narrow terminal wraps long lines and loses nothing."""
    if title:
        console.print(title, highlight=False, markup=False)
    table.width = Measurement.get(console, console.options.update(max_width=_WIDEST), table).maximum
    console.print(table, crop=False)


def print_metrics(metrics: Metrics, labels: Sequence[str]) -> None:
    """Print the metrics of held-out images and their confusion matrix."""
    console.print(metrics_line(metrics), highlight=False, markup=False)
    print_table(confusion_table(metrics, labels), "Confusion matrix: rows are true labels, columns predicted labels")


def metrics_line(metrics: Metrics) -> str:
    """The metrics in one line; accuracy always with its interval."""
    return (
        f"Test accuracy {metrics.accuracy:.1%} (95 % interval {metrics.accuracy_low:.1%} to "
        f"{metrics.accuracy_high:.1%}, {metrics.images} images), balanced accuracy {metrics.balanced_accuracy:.1%}, "
        f"macro-F1 {metrics.macro_f1:.3f}, calibration error {metrics.calibration_error:.3f}"
    )


def confusion_table(metrics: Metrics, labels: Sequence[str], most: int = 20) -> Table:
    """Rows are true labels, columns predicted ones; the first ``most`` of each."""
    table = plain_table()
    table.add_column("")
    # rich would read a label such as "[b]" as markup.
    names = [escape(label) for label in labels[:most]]
    for name in names:
        table.add_column(name, justify="right")
    for name, row in zip(names, metrics.confusion[:most], strict=True):
        table.add_row(name, *(str(count) for count in row[:most]))
    return table
