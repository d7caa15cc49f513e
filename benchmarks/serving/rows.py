"""What was measured: one row for each turn, kept as CSV with the processor's name."""

import csv
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

from benchmarks.serving.load import Outcome

Phase = Literal["sweep", "turn", "paced", "start", "memory"]
LIMIT = "in-process limit"
LONE = "in-process limit, one run on every processor"


@dataclass(frozen=True)
class Row:
    """One figure or one set of them."""

    phase: Phase
    contestant: str
    network: str
    decode: str = "scaled"
    settings: str = ""
    photograph: str = ""
    connections: int = 0
    round: int = 0
    rate: float = 0.0
    """Right answers a second; of ``paced`` rows, what was offered is in ``offered``."""
    p50: float = 0.0
    p95: float = 0.0
    p99: float = 0.0
    """Milliseconds."""
    errors: int = 0
    offered: float = 0.0
    share: float = 0.0
    """Of the contestant's own peak that was offered."""
    seconds: float = 0.0
    """From the start to the first 200 of its readiness."""
    largest_mb: float = 0.0
    all_mb: float = 0.0


def of(outcome: Outcome) -> dict[str, float | int]:
    """An outcome's figures by a row's names, rounded to what they are worth."""
    return {name: round(value, 2) for name, value in asdict(outcome).items()}


def write_rows(rows: Iterable[Row], path: Path, machine: str) -> None:
    """The rows as CSV, each with the machine's name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["machine", *(each.name for each in fields(Row))])
        writer.writeheader()
        writer.writerows({"machine": machine, **asdict(row)} for row in rows)


def read_rows(path: Path) -> tuple[list[Row], str]:
    """The rows of a CSV, and the machine that they were measured on."""
    with path.open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    kinds = {each.name: each.type for each in fields(Row)}
    cast = {name: int if kind is int else float if kind is float else str for name, kind in kinds.items()}
    rows = [Row(**{name: cast[name](line[name]) for name in cast}) for line in lines]
    return rows, lines[0]["machine"]


class Table:
    """Medians over rounds, looked up by who and what."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows

    def turns(
        self, contestant: str, network: str, photograph: str, connections: int, decode: str = "scaled"
    ) -> list[Row]:
        """The rounds of one case."""
        wanted = ("turn", contestant, network, photograph, connections, decode)
        return [
            row
            for row in self.rows
            if (row.phase, row.contestant, row.network, row.photograph, row.connections, row.decode) == wanted
        ]

    def rate(self, contestant: str, network: str, photograph: str, connections: int, decode: str = "scaled") -> float:
        """Median of right answers a second, 0 where the case was not measured."""
        turns = self.turns(contestant, network, photograph, connections, decode)
        return statistics.median([row.rate for row in turns] or [0.0])

    def p50(self, contestant: str, network: str, photograph: str, connections: int, decode: str = "scaled") -> float:
        """Median over rounds of the median milliseconds."""
        turns = self.turns(contestant, network, photograph, connections, decode)
        return statistics.median([row.p50 for row in turns] or [0.0])

    def best(self, network: str, photograph: str, connections: int, decode: str = "scaled") -> tuple[str, float]:
        """The fastest peer of a case and its rate."""
        names = {
            row.contestant
            for row in self.rows
            if row.phase == "turn" and not row.contestant.startswith("catseye") and row.contestant not in (LIMIT, LONE)
        }
        rates = {name: self.rate(name, network, photograph, connections, decode) for name in names}
        return max(rates.items(), key=lambda item: item[1], default=("", 0.0))
