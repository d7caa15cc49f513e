"""What one fault cost: a line of the table."""

import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.console import Console
from rich.table import Table

Outcome = Literal["held", "MISSED", "not run"]


class NotRun(Exception):
    """A fault cannot be provoked on this machine; the message says why."""


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
    ran: bool = True
    """False where the fault could not be provoked: then nothing is known."""

    @property
    def outcome(self) -> Outcome:
        if not self.ran:
            return "not run"
        return "held" if self.held else "MISSED"

    @property
    def verdict(self) -> str:
        """The outcome, and what there is to say."""
        return " ".join(filter(None, (self.outcome, self.note and f"({self.note})")))


def not_run(fault: str, why: str) -> Row:
    """The row of a fault that could not be provoked."""
    return Row(fault, 0, 0, None, held=False, note=why, ran=False)


def show(rows: Sequence[Row], title: str) -> int:
    """Print the table and how many faults held; 1 where one was missed, else 0."""
    table = Table("fault", title=title, title_justify="left")
    for column in ("tries", "lost", "recovery"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("verdict")
    for row in rows:
        took = "-" if row.recovery is None else f"{row.recovery:.1f} s"
        table.add_row(row.fault, f"{row.tries:,}", f"{row.lost:,}", took, row.verdict)
    console = Console(width=120)
    console.print(table)
    counts = Counter(row.outcome for row in rows)
    console.print(f"{counts['held']} held, {counts['MISSED']} missed, {counts['not run']} not run")
    return 1 if counts["MISSED"] else 0


def surely(name: str, fault: Callable[[], Row | list[Row]]) -> list[Row]:
    """What a fault gives; where it raises, a row that says so, for the others are still to come."""
    try:
        found = fault()
    except NotRun as why:
        return [not_run(name, str(why))]
    except Exception as error:
        traceback.print_exc()
        return [Row(name, 0, 0, None, False, f"not told: {type(error).__name__}: {error}")]
    return found if isinstance(found, list) else [found]
