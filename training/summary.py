"""What a run reached, on the screen: accuracy with its interval, macro-F1 and the confusion matrix."""

from collections.abc import Sequence

from rich.table import Table

from models.card import Metrics
from training.progress import console


def show(metrics: Metrics, labels: Sequence[str]) -> None:
    """Print the figures of held-out images."""
    console.print(sentence(metrics), highlight=False, markup=False)
    console.print(confusion_table(metrics, labels))


def sentence(metrics: Metrics) -> str:
    """The figures in one line; accuracy never without its interval."""
    return (
        f"Test accuracy {metrics.accuracy:.1%} (95 % interval {metrics.accuracy_low:.1%} to "
        f"{metrics.accuracy_high:.1%}, {metrics.images} images), balanced {metrics.balanced_accuracy:.1%}, "
        f"macro-F1 {metrics.macro_f1:.3f}, calibration error {metrics.calibration_error:.3f}"
    )


def confusion_table(metrics: Metrics, labels: Sequence[str], most: int = 20) -> Table:
    """Rows are true labels, columns predicted ones; the first ``most`` of each."""
    table = Table(title="Confusion: true label down, predicted across", title_justify="left")
    table.add_column("")
    for label in labels[:most]:
        table.add_column(label, justify="right")
    for label, row in list(zip(labels, metrics.confusion, strict=True))[:most]:
        table.add_row(label, *(str(count) for count in row[:most]))
    return table
