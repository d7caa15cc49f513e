"""What tuning measured, as a picture: images a second against latency, one mark for each plan."""

from collections.abc import Sequence
from pathlib import Path

from models.files import write_whole
from service.inference.execution_plan import Plan

_COLOURS = ("#4c6a92", "#d9480f", "#2b8a3e", "#9c36b5", "#0b7285", "#846358")
_MARKS = "os^Dv*"


def draw(measured: Sequence[Plan], chosen: Plan, title: str, path: Path) -> None:
    """Write a PNG. Needs matplotlib, which serving by itself does not install."""
    from io import BytesIO

    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), dpi=130, layout="constrained")
    axes = figure.subplots()
    batches = sorted({plan.batch for plan in measured})
    streams = sorted({plan.streams for plan in measured})
    for plan in measured:
        axes.scatter(
            plan.images_per_second,
            plan.p50_ms,
            color=_COLOURS[batches.index(plan.batch) % len(_COLOURS)],
            marker=_MARKS[streams.index(plan.streams) % len(_MARKS)],
            s=52,
            alpha=0.85,
        )
    for index, batch in enumerate(batches):
        axes.scatter([], [], color=_COLOURS[index % len(_COLOURS)], marker="o", label=f"batch {batch}")
    for index, count in enumerate(streams):
        axes.scatter([], [], color="#5f6b76", marker=_MARKS[index % len(_MARKS)], label=f"{count} at once")
    axes.scatter(chosen.images_per_second, chosen.p50_ms, s=260, facecolors="none", edgecolors="black", linewidths=1.4)
    axes.annotate(
        f"chosen: {chosen.streams} at once, {chosen.threads} threads, batch {chosen.batch}",
        (chosen.images_per_second, chosen.p50_ms),
        xytext=(-14, 16),
        textcoords="offset points",
        ha="right",
        fontsize=9,
    )
    axes.set_xlim(left=0)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.set_xlabel("images a second (right is better)")
    axes.set_ylabel("p50 of an image, ms (lower is better)")
    axes.set_title(title, loc="left", fontsize=10)
    axes.grid(visible=True, which="both", color="#e3e7eb", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.legend(fontsize=8, frameon=False, ncols=2)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    out = BytesIO()
    figure.savefig(out, format="png")
    write_whole(path, out.getvalue())
