"""The plots of a run: learning curves, confusion matrix, calibration, classes. Each function returns a PNG."""

import io
from collections.abc import Sequence
from itertools import cycle
from math import ceil
from typing import NamedTuple, Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from training.evaluate.calibration import Reliability
from training.evaluate.metrics import ClassRow
from training.report.fonts import PlotLabels, plot_labels

INK, FAINT, GRID = "#1f2328", "#656d76", "#e4e7eb"
BLUE, ORANGE = "#0b62a4", "#c8511b"
"""Distinct to colour-blind eyes and in grey; both have a contrast of at least 4.5 on white."""
_CURVES = (("#7a4fa3", "s"), (ORANGE, "^"), ("#3b8f5a", "D"), (BLUE, "o"))
"""Colour and marker of each of several curves."""
_DPI = 144
_MOST_NUMBERS, _MOST_NAMES, _MOST_BARS = 20, 60, 40
PHASE_TITLES = {"head": "new head", "top": "fine-tuning"}
"""Not shown for a network that is trained from scratch, which has one phase."""


class Phase(Protocol):
    """A phase of training: its name, the metrics of each epoch, and the epoch whose weights are kept."""

    phase: str
    history: list[dict[str, float]]
    best_epoch: int


def learning_curves(phases: Sequence[Phase]) -> bytes:
    """Loss and accuracy by epoch, the phases one after the other; a ring marks the epoch that is kept."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    pair: Sequence[Axes] = figure.subplots(1, 2)
    for axes, key in zip(pair, ("loss", "accuracy"), strict=True):
        _style(axes, f"{key} by epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        _curves(axes, phases, key)
    pair[1].yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    handles, names = pair[0].get_legend_handles_labels()
    if handles:
        pair[0].legend(handles, names, frameon=False, fontsize=9, labelcolor=INK)
    return _png(figure)


def _curves(axes: Axes, phases: Sequence[Phase], key: str) -> None:
    start = 0
    for number, phase in enumerate(phases):
        epochs = start + np.arange(1, len(phase.history) + 1)
        for name, colour, title in ((key, BLUE, "training"), (f"val_{key}", ORANGE, "validation")):
            values = np.array([figures.get(name, np.nan) for figures in phase.history], float)
            if np.isfinite(values).any():
                axes.plot(epochs, values, color=colour, lw=1.8, marker="o", ms=2.5, label=None if number else title)
            best = phase.best_epoch
            if 0 < best <= len(values) and name.startswith("val_"):
                axes.plot(start + best, values[best - 1], "o", ms=9, mfc="none", mec=ORANGE, mew=1.6)
        if start:
            axes.axvline(start + 0.5, color=FAINT, lw=0.9, ls=(0, (4, 3)))
        if len(phase.history):
            x = start + 0.5 if start else 0.5
            title = PHASE_TITLES.get(phase.phase, phase.phase) if len(phases) > 1 or phase.phase == "head" else ""
            axes.text(x, 1.01, f" {title}", transform=axes.get_xaxis_transform(), fontsize=8, color=FAINT)
        start += len(phase.history)
    axes.set_xlim(0.5, max(start, 1) + 0.5)


def confusion(matrix: NDArray[np.int64], labels: Sequence[str]) -> bytes:
    """Counts ``(classes, classes)``, rows true, coloured by the share of the row."""
    classes = len(labels)
    side = float(np.clip(1.6 + 0.42 * classes, 3.8, 13))
    figure = Figure(figsize=(side + 1.2, side), layout="constrained")
    axes = figure.subplots()
    rows = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, rows, out=np.zeros(matrix.shape), where=rows > 0)
    picture = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.6, 0, 1))
    for edge in axes.spines.values():
        edge.set_visible(False)
    axes.set_xlabel("predicted", color=INK)
    axes.set_ylabel("true", color=INK)
    _name_ticks(axes, plot_labels(labels))
    if classes <= _MOST_NUMBERS:
        _numbers(axes, matrix, shares, small=classes > 10)
    bar = figure.colorbar(picture, ax=axes, fraction=0.04, aspect=30, pad=0.03, format=PercentFormatter(1.0))
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, color=FAINT, labelcolor=FAINT)
    bar.set_label("share of the true class", fontsize=8, color=FAINT)
    return _png(figure)


def _numbers(axes: Axes, matrix: NDArray[np.int64], shares: NDArray[np.float64], *, small: bool) -> None:
    for (row, column), count in np.ndenumerate(matrix):
        if small and not count:
            continue
        share = shares[row, column]
        text = f"{count}" if small else f"{count}\n{share:.0%}"
        colour = "white" if share > 0.4 else INK
        axes.text(column, row, text, ha="center", va="center", fontsize=8 if small else 9, color=colour)


def reliability_diagram(before: Reliability, after: Reliability, temperature: float) -> bytes:
    """Accuracy against confidence, before and after division by the temperature."""
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    top, bottom = figure.subplots(2, 2, height_ratios=(3, 1), sharex=True, sharey="row")
    titles = (f"as trained: error {before.error:.3f}", f"temperature {temperature:.2f}: error {after.error:.3f}")
    for column, (found, title) in enumerate(zip((before, after), titles, strict=True)):
        _style(top[column], title)
        _style(bottom[column], "")
        middle, width = (found.edges[:-1] + found.edges[1:]) / 2, np.diff(found.edges) * 0.9
        top[column].plot([0, 1], [0, 1], color=FAINT, lw=1, ls=(0, (4, 3)))
        top[column].bar(middle, np.nan_to_num(found.accuracy), width, color=BLUE)
        top[column].plot(found.confidence, found.accuracy, "o", color=ORANGE, ms=4, mec="white", mew=0.6)
        bottom[column].bar(middle, found.counts, width, color=GRID, edgecolor=FAINT, lw=0.6)
        bottom[column].set_xlabel("confidence", color=INK)
    top[0].set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy")
    bottom[0].set_ylabel("images")
    return _png(figure)


def class_bars(rows: Sequence[ClassRow]) -> bytes:
    """Recall of each class with its 95 % interval, and its precision; the lowest first, at most forty."""
    shown = sorted((row for row in rows if row.images), key=lambda row: row.recall)[:_MOST_BARS]
    figure = Figure(figsize=(8, 1.3 + 0.34 * max(2, len(shown))), layout="constrained")
    axes = figure.subplots()
    _style(axes, "recall with 95 % interval, and precision", grid="x")
    places = np.arange(len(shown))
    recall = np.array([row.recall for row in shown])
    low = recall - [row.recall_low for row in shown]
    high = [row.recall_high for row in shown] - recall
    axes.barh(places, recall, 0.62, color=BLUE, label="recall")
    axes.errorbar(recall, places, xerr=(low, high), fmt="none", ecolor=INK, elinewidth=1.1, capsize=3)
    precision = [row.precision for row in shown]
    axes.plot(precision, places, "D", color=ORANGE, ms=5.5, mec="white", mew=0.8, label="precision")
    axes.set(xlim=(0, 1.005), ylim=(len(shown) - 0.4, -0.6))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    labels = plot_labels([row.label for row in rows])
    names = dict(zip((row.label for row in rows), labels.names, strict=True))
    axes.set_yticks(places, [f"{names[row.label]}  ({row.images})" for row in shown])
    _set_font(axes.get_yticklabels(), labels)
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return _png(figure)


class Line(NamedTuple):
    """One curve: its name, its values, and the (low, high) of each value's interval."""

    name: str
    values: Sequence[float]
    intervals: Sequence[tuple[float, float]]


def accuracy_lines(shares: Sequence[float], lines: Sequence[Line]) -> bytes:
    """Accuracy of several networks against the shift of the test images, with 95 % intervals as bands."""
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    axes = figure.subplots()
    _style(axes, "accuracy on shifted test images, with 95 % intervals")
    for number, (line, (colour, marker)) in enumerate(zip(lines, cycle(_CURVES), strict=False)):
        # Each is thinner than the one before, so that curves that coincide can all be seen.
        width = 1.8 + 1.1 * (len(lines) - 1 - number)
        low, high = zip(*line.intervals, strict=True)
        axes.fill_between(shares, low, high, color=colour, alpha=0.13, lw=0)
        axes.plot(shares, line.values, color=colour, marker=marker, ms=3.5 + width, lw=width, label=line.name)
    axes.set(xlabel="shift, as share of the side", xlim=(shares[0] - 0.004, shares[-1] + 0.004))
    axes.set_xticks(shares)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.legend(frameon=False, fontsize=9, labelcolor=INK, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return _png(figure)


def _name_ticks(axes: Axes, labels: PlotLabels) -> None:
    """The class names on both axes; where there are too many, only every n-th."""
    places = np.arange(0, len(labels.names), ceil(len(labels.names) / _MOST_NAMES))
    names = [labels.names[i] for i in places]
    short = max(map(len, names)) * len(names) < 40
    axes.set_xticks(places, names)
    axes.set_yticks(places, names)
    axes.tick_params(length=0)
    for text in axes.get_xticklabels():
        text.set(rotation=0 if short else 45, ha="center" if short else "right", rotation_mode="anchor")
    if short:
        axes.tick_params(axis="x", pad=6)
        for text in axes.get_xticklabels():
            text.set_verticalalignment("top")
    size = 9 if len(names) <= 20 else 7 if len(names) <= 40 else 5.5
    _set_font([*axes.get_xticklabels(), *axes.get_yticklabels()], labels, size)


def _set_font(texts: Sequence[Text], labels: PlotLabels, size: float = 9) -> None:
    for text in texts:
        text.set_fontproperties(FontProperties(family=list(labels.families), size=size))
        text.set_color(INK)
        # A label with dollar signs is not a formula.
        text.set_parse_math(False)


def _style(axes: Axes, title: str, *, grid: str = "y") -> None:
    axes.set_title(title, fontsize=10, color=INK, loc="left", pad=14 if "epoch" in title else 6)
    axes.grid(axis="x" if grid == "x" else "y", color=GRID, lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GRID)
    axes.tick_params(labelsize=8, colors=FAINT, labelcolor=FAINT, length=3)
    axes.xaxis.label.set_fontsize(9)
    axes.yaxis.label.set_fontsize(9)


def _png(figure: Figure) -> bytes:
    """The figure as PNG, without date and version: the same figure gives the same bytes."""
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=_DPI, bbox_inches="tight", metadata={"Software": None})
    return out.getvalue()
