"""What a run reached, on the screen: accuracy with its interval, macro-F1 and the confusion matrix."""

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from models.card import Metrics
from training.report.figures import figures_table, show_whole
from training.report.progress import console


def show(metrics: Metrics, labels: Sequence[str]) -> None:
    """Print the figures of held-out images."""
    console.print(sentence(metrics), highlight=False, markup=False)
    show_whole(confusion_table(metrics, labels), "Confusion: true label down, predicted across")


def sentence(metrics: Metrics) -> str:
    """The figures in one line; accuracy never without its interval."""
    return (
        f"Test accuracy {metrics.accuracy:.1%} (95 % interval {metrics.accuracy_low:.1%} to "
        f"{metrics.accuracy_high:.1%}, {metrics.images} images), balanced {metrics.balanced_accuracy:.1%}, "
        f"macro-F1 {metrics.macro_f1:.3f}, calibration error {metrics.calibration_error:.3f}"
    )


def confusion_table(metrics: Metrics, labels: Sequence[str], most: int = 20) -> Table:
    """Rows are true labels, columns predicted ones; the first ``most`` of each."""
    table = figures_table()
    table.add_column("")
    # A folder may be called "[b]", which rich would take for an order.
    names = [escape(label) for label in labels]
    for name in names[:most]:
        table.add_column(name, justify="right")
    for name, row in list(zip(names, metrics.confusion, strict=True))[:most]:
        table.add_row(name, *(str(count) for count in row[:most]))
    return table
