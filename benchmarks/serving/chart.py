"""The chart of a run: images a second at 16 connections, Keras and int8, and what one machine can do at most."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

from benchmarks.serving.report import MANY, OURS, SMALL
from benchmarks.serving.rows import LIMIT, Row, Table

matplotlib.use("Agg")

from matplotlib import pyplot

_INK, _FAINT = "#1f2933", "#d9dee4"
_COLOURS = {"ours": "#d9480f", "keras": "#8793a1", "int8": "#4c6a92", "limit": "#e8c9b5"}


def draw(rows: Sequence[Row], machine: str, path: Path) -> None:
    """Write the chart as PNG."""
    table = Table(rows)
    turns = [row for row in rows if row.phase == "turn" and (row.photograph, row.connections) == (SMALL, MANY)]
    who = dict.fromkeys((row.contestant, row.network) for row in turns)
    bars = sorted((table.rate(*each, SMALL, MANY), *each) for each in who)
    figure, axes = pyplot.subplots(figsize=(9, 0.42 * len(bars) + 1.5), dpi=130)
    for place, (rate, contestant, network) in enumerate(bars):
        kind = "limit" if contestant == LIMIT else "ours" if contestant == OURS else network
        axes.barh(place, rate, color=_COLOURS[kind], height=0.72)
        axes.text(rate + bars[-1][0] * 0.008, place, f"{rate:.0f}", va="center", color=_INK, fontsize=9)
    axes.set_yticks(range(len(bars)), [_label(contestant, network) for _, contestant, network in bars], fontsize=9)
    for place, label in enumerate(axes.get_yticklabels()):
        label.set_color(_INK)
        label.set_fontweight("bold" if bars[place][1] == OURS else "normal")
    axes.set_title(
        "Photographs a second: MobileNetV2 at 224 px, 640x480 JPEG, 16 connections", loc="left", color=_INK, fontsize=11
    )
    axes.set_xlabel(f"{machine}; one run, by turns", color=_INK, fontsize=9, loc="left")
    axes.set_xlim(0, bars[-1][0] * 1.08)
    axes.xaxis.grid(visible=True, color=_FAINT)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None})
    pyplot.close(figure)


def _label(contestant: str, network: str) -> str:
    if contestant == LIMIT:
        return "no HTTP at all, int8 (the limit)"
    names = {"keras": "Keras" if contestant != OURS else "TensorFlow", "int8": "int8", "float32": "float32"}
    return f"{contestant}, {names[network]}"
