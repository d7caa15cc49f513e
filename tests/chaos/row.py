"""What one fault cost: a line of the table."""

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Row:
    """One fault: how often something was tried meanwhile, what was lost beyond what was in flight, and how it ended."""

    fault: str
    tries: int
    lost: int
    recovery: float | None
    """Seconds until all was as before; None where nothing had to recover."""
    held: bool
    note: str = ""

    @property
    def verdict(self) -> str:
        """``held`` or ``MISSED``, and what there is to say."""
        return " ".join(filter(None, ("held" if self.held else "MISSED", self.note and f"({self.note})")))


def show(rows: Sequence[Row], title: str) -> None:
    """Print the table."""
    table = Table("fault", title=title, title_justify="left")
    for column in ("tries", "lost", "recovery"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("verdict")
    for row in rows:
        took = "-" if row.recovery is None else f"{row.recovery:.1f} s"
        table.add_row(row.fault, f"{row.tries:,}", f"{row.lost:,}", took, row.verdict)
    Console(width=120).print(table)


def surely(name: str, fault: Callable[[], Row | list[Row]]) -> list[Row]:
    """What a fault gives; where it raises, a row that says so, for the others are still to come."""
    try:
        found = fault()
    except Exception as error:
        traceback.print_exc()
        return [Row(name, 0, 0, None, False, f"not told: {type(error).__name__}: {error}")]
    return found if isinstance(found, list) else [found]
