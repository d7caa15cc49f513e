"""The measured plans as a plot: images per second against latency, one mark for each plan."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from models.files import write_whole
from service.inference.execution_plan import Plan

_MARKS = "os^Dv*"


def draw(measured: Sequence[Plan], chosen: Plan, title: str, path: Path) -> None:
    """Write a PNG. Needs matplotlib, which serving by itself does not install."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), dpi=130, layout="constrained")
    axes = figure.subplots()
    batches, streams = (sorted({getattr(plan, name) for plan in measured}) for name in ("batch", "streams"))
    for number, batch in enumerate(batches):
        for mark, count in zip(_MARKS, streams, strict=False):
            plans = [plan for plan in measured if (plan.batch, plan.streams) == (batch, count)]
            rates, times = [plan.images_per_second for plan in plans], [plan.p50_ms for plan in plans]
            label = f"batch {batch}, {count} streams"
            axes.scatter(rates, times, s=52, alpha=0.85, color=f"C{number}", marker=mark, label=label)
    place = (chosen.images_per_second, chosen.p50_ms)
    axes.scatter(*place, s=260, facecolors="none", edgecolors="black")
    axes.annotate(
        f"chosen: {chosen.streams} streams, {chosen.threads} threads, batch {chosen.batch}",
        place,
        xytext=(-14, 16),
        textcoords="offset points",
        ha="right",
        fontsize=9,
    )
    axes.set_xlim(left=0)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.set_xlabel("images per second (higher is better)")
    axes.set_ylabel("p50 of an image, ms (lower is better)")
    axes.set_title(title, loc="left", fontsize=10)
    axes.grid(which="both", color="#e3e7eb", linewidth=0.7)
    axes.legend(fontsize=8, frameon=False, ncols=2)
    out = BytesIO()
    figure.savefig(out, format="png")
    write_whole(path, out.getvalue())
