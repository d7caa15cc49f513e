"""Tables of figures on the screen: a row is one line, however narrow the screen, so that it can be read and copied."""

from rich.box import SIMPLE_HEAD
from rich.measure import Measurement
from rich.table import Table

from training.report.progress import console

_WIDEST = 1000


def figures_table() -> Table:
    """An empty table, rules only under its headings."""
    return Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))


def show_whole(table: Table, title: str = "") -> None:
    """Print a table as wide as it is; a terminal breaks lines that are too long, but loses nothing of them."""
    if title:
        console.print(title, highlight=False, markup=False)
    table.width = Measurement.get(console, console.options.update(max_width=_WIDEST), table).maximum
    console.print(table, crop=False)
