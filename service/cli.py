"""The commands of serving: serve, classify, features, tune. None of them imports TensorFlow."""

import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Literal

import typer

from models.errors import BadParameter
from models.files import output_errors
from service.settings import read_settings

if TYPE_CHECKING:
    from rich.progress import Progress
    from rich.table import Table

    from models.errors import CatseyeError
    from models.store.store import StoredModel
    from service.inference.execution_plan import Plan
    from service.offline.run_folder import Terms
    from service.settings import Settings

app = typer.Typer(
    help="Serve classifiers, or run them on image files.", add_completion=False, pretty_exceptions_enable=False
)

Paths = Annotated[list[Path], typer.Argument(help="Image files, or folders of image files.", show_default=False)]
Model = Annotated[str | None, typer.Option(help="Model to use.", show_default="the one stored last")]
Version = Annotated[str | None, typer.Option(help="Version of the model.", show_default="the newest")]
Fast = Annotated[bool, typer.Option("--fast", help="Use the fast variant of the model.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="File to write.", show_default="standard output")]

_SHOWN = 20
"""Most bad files of a run on Ray that are shown; a file lists all."""


@app.callback()
def _commands() -> None:
    """Serve classifiers, or run them on image files."""


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "0.0.0.0",  # noqa: S104 - a server
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 3000,
) -> None:
    """Serve the models in the store over HTTP. Settings are environment variables CATSEYE_*."""
    from service.process import supervisor

    raise typer.Exit(supervisor.serve(host, port, read_settings(), meanwhile=_say_if_empty))


def _say_if_empty() -> None:
    from models.store.store import list_models

    if not list_models():
        typer.echo(
            "catseye: the store has no model yet, so /readyz answers 503. "
            "Train one with `catseye train DIR --name NAME`; it is served as soon as it is stored.",
            err=True,
        )


@app.command()
def classify(
    paths: Paths,
    model: Model = None,
    version: Version = None,
    fast: Fast = False,
    top_k: Annotated[int, typer.Option(min=1, help="Number of labels for each image.")] = 5,
    format: Annotated[Literal["jsonl", "csv"], typer.Option(help="Output format.")] = "jsonl",
    output: Output = None,
    engine: Annotated[
        Literal["threads", "ray"],
        typer.Option(help="ray runs many processes, which write to the folder --output; a stopped run is resumed."),
    ] = "threads",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes of Ray.", show_default="one for each core")
    ] = None,
    shard: Annotated[int, typer.Option(min=1, help="Images in each file that Ray writes.")] = 1000,
) -> None:
    """Classify image files without a server. Bad files are listed, and the exit code is then 1."""
    from service.offline import classify as offline

    if engine == "ray" and output is None:
        raise BadParameter("Ray writes a folder of tables. Name it with --output.")
    settings = read_settings()
    files = offline.find_files(paths)
    stored = offline.find_model(model, version, fast=fast)
    if engine == "ray" and output is not None:
        from service.offline.ray import terms_of

        terms = terms_of(stored, settings, paths, kind=format, top_k=top_k, shard=shard)
        _classify_on_ray(output, terms, files, stored, settings, workers)
        return
    served = offline.load(stored, settings)
    bad: list[tuple[Path, CatseyeError]] = []
    with _opened(output) as out, _progress() as progress:
        table = offline.Table(out, format, served, top_k)
        for result in progress.track(
            offline.classify(served, files, settings, top_k), total=len(files), description=served.stored.tag
        ):
            table.write(result)
            if result.error is not None:
                bad.append((result.path, result.error))
    _end_with_bad(bad, len(files), "classified")


def _classify_on_ray(
    folder: Path, terms: "Terms", files: list[Path], stored: "StoredModel", settings: "Settings", workers: int | None
) -> None:
    from service.offline import ray, run_folder

    with run_folder.opened(folder, terms, files) as run:
        left = sum(shard.images for shard in run.left())
        if run.changed:
            typer.echo(
                f"catseye: the images are not those that the run in {folder} began with. It goes on with those; "
                "classify others into another folder.",
                err=True,
            )
        if left < run.images:
            typer.echo(f"catseye: {run.images - left} of {run.images} files are done; {left} are left.", err=True)
        with _progress() as progress:
            task = progress.add_task(stored.tag, total=run.images, completed=run.images - left)
            for images in ray.classify(stored, settings, run, workers):
                progress.advance(task, images)
        bad, shown = run.keep_errors(_SHOWN)
        for path, detail in shown:
            typer.echo(f"catseye: {path}: {detail}", err=True)
    typer.echo(f"catseye: {run.images - bad} files are classified in {folder}.", err=True)
    if bad:
        listed = folder / run_folder.ERRORS_FILE
        typer.echo(f"catseye: {bad} of {run.images} files could not be classified; {listed} lists them.", err=True)
        raise typer.Exit(1)


def _progress() -> "Progress":
    from rich.console import Console
    from rich.progress import Progress

    return Progress(console=Console(stderr=True), transient=True)


@app.command()
def features(
    paths: Paths,
    layer: Annotated[
        list[str] | None, typer.Option(help="Name or index of a layer; can be repeated.", show_default="the last")
    ] = None,
    channels: Annotated[str | None, typer.Option(help="Channels: 0,3,8-15, or strongest:8, or all.")] = None,
    format: Annotated[
        Literal["png", "npz", "json"] | None,
        typer.Option(help="File format.", show_default="by the suffix of --output, else png"),
    ] = None,
    model: Model = None,
    version: Version = None,
    fast: Fast = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write, or the folder for several images."),
    ] = None,
) -> None:
    """Draw or save the feature maps of image files. Bad files are listed, and the exit code is then 1."""
    from service.offline import classify as offline
    from service.offline import feature_maps

    alone = len(paths) == 1 and not paths[0].is_dir()
    kind = feature_maps.kind_of(format, output, alone=alone)
    files = offline.find_files(paths)
    stored: StoredModel = offline.find_model(model, version, fast=fast)
    maps = feature_maps.Maps(stored, read_settings(), layer or [], channels, kind)
    if alone:
        target = output or Path(f"{files[0].stem}-features.{kind}")
        feature_maps.write(target, maps.of(files[0]))
        typer.echo(str(target))
        return
    folder = output or Path("features")
    with _progress() as progress:
        written = feature_maps.write_all(maps, files, folder)
        tried = list(progress.track(written, total=len(files), description=stored.tag))
    typer.echo(str(folder))
    _end_with_bad([(path, error) for path, error in tried if error is not None], len(files), "read")


def _end_with_bad(bad: "list[tuple[Path, CatseyeError]]", total: int, done: str) -> None:
    """List the bad files with their errors, and end with exit code 1 if there are any."""
    for path, error in bad:
        typer.echo(f"catseye: {path}: {error.detail}", err=True)
    if bad:
        typer.echo(f"catseye: {len(bad)} of {total} files could not be {done}.", err=True)
        raise typer.Exit(1)


@app.command()
def tune(
    model: Annotated[str | None, typer.Argument(help="Model to measure.", show_default="the one stored last")] = None,
    version: Version = None,
    fast: Fast = False,
    seconds: Annotated[float, typer.Option(min=0.05, max=600, help="Seconds to measure each plan.")] = 1.0,
    plot: Annotated[Path | None, typer.Option(help="Plot to write (PNG).", show_default="beside the plan")] = None,
) -> None:
    """Measure how to run a model fastest on this machine, and save the plan for the service."""
    from rich.console import Console

    from service.inference import execution_plan, tuning
    from service.offline import classify as offline

    settings = read_settings()
    stored = offline.find_model(model, version, fast=fast)
    tried = tuning.candidates(settings, brief=False)
    with _progress() as progress:
        task = progress.add_task(f"measuring {stored.tag}", total=len(tried) * tuning.ROUNDS)
        measured = tuning.measure(stored, settings, tried, seconds, lambda: progress.advance(task))
    chosen = tuning.best(measured)
    execution_plan.keep_plan(stored.card, settings, chosen)
    path = execution_plan.plan_path(stored.card, settings)
    title = (
        f"{stored.tag}, {settings.runtime}, {execution_plan.processors()} x {execution_plan.this_machine().processor}"
    )
    console = Console()
    console.print(_table_of(measured, chosen, title))
    if chosen.provisional:
        console.print(
            "Other programs kept the processors busy, so the next start measures again. Tune on an idle machine."
        )
    console.print(f"Saved to {path}. The service uses it from its next start.", soft_wrap=True)
    _plot(measured, chosen, title, plot or path.with_suffix(".png"), asked=plot is not None)


def _table_of(measured: "list[Plan]", chosen: "Plan", title: str) -> "Table":
    from rich.table import Table

    most = max(plan.images_per_second for plan in measured)
    table = Table(title=title)
    for heading in ("streams", "threads", "batch", "wait ms", "images/s", "p50 ms"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for plan in measured:
        wait = f"{plan.wait_ms:g}" if plan.batch > 1 else ""
        figures = (plan.streams, plan.threads, plan.batch, wait, f"{plan.images_per_second:.1f}", f"{plan.p50_ms:.1f}")
        bar = "█" * round(10 * plan.images_per_second / most)
        style = "bold" if plan is chosen else ""
        table.add_row(*map(str, figures), bar + (" chosen" if plan is chosen else ""), style=style)
    return table


def _plot(measured: "list[Plan]", chosen: "Plan", title: str, path: Path, *, asked: bool) -> None:
    from service.offline import plan_chart

    try:
        with output_errors(path):
            plan_chart.draw(measured, chosen, title, path)
    except ModuleNotFoundError:
        if asked:
            raise
        typer.echo("No plot, since matplotlib is not installed here.")
    else:
        typer.echo(f"Plot: {path}")


def _opened(path: Path | None) -> AbstractContextManager[IO[str]]:
    if path is None:
        return nullcontext(sys.stdout)
    with output_errors(path):
        return path.open("w", encoding="utf-8", newline="")
