"""The commands of serving: serve, classify, features, tune. None of them needs TensorFlow."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

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
    from service.offline.classify import TableFormat
    from service.offline.run_folder import Terms
    from service.settings import Settings

app = typer.Typer(help="Serve classifiers, or run them on files.", add_completion=False, pretty_exceptions_enable=False)

Paths = Annotated[list[Path], typer.Argument(help="Image files, and folders of image files.", show_default=False)]
Model = Annotated[str | None, typer.Option(help="Name in the store; by default the model stored last.")]
Version = Annotated[str | None, typer.Option(help="Version in the store; by default the newest.")]
Fast = Annotated[bool, typer.Option("--fast", help="Use the model's fast variant.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="File to write; by default standard output.")]

_SHOWN = 20
"""So many bad files of a run on Ray are named on the terminal; a file lists all."""


@app.callback()
def _commands() -> None:
    """Serve classifiers, or run them on files."""


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "0.0.0.0",  # noqa: S104 - a server
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 3000,
) -> None:
    """Serve the store's classifiers over HTTP; settings are environment variables CATSEYE_*."""
    from service.process import launcher

    raise typer.Exit(launcher.serve(host, port, read_settings(), meanwhile=_say_if_empty))


def _say_if_empty() -> None:
    from models.store.store import list_models

    if not list_models():
        typer.echo(
            "catseye: the store has no model yet, so /readyz says 503. Train one with `catseye train DIR --name NAME`; "
            "it is served as soon as it is stored.",
            err=True,
        )


@app.command()
def classify(
    paths: Paths,
    model: Model = None,
    version: Version = None,
    fast: Fast = False,
    top_k: Annotated[int, typer.Option(min=1, help="So many labels for each image.")] = 5,
    format: Annotated[str, typer.Option(help="jsonl or csv.")] = "jsonl",
    output: Output = None,
    engine: Annotated[
        str, typer.Option(help="threads; or ray, whose workers fill the folder --output and go on where they were.")
    ] = "threads",
    workers: Annotated[int | None, typer.Option(min=1, help="Of Ray; by default one for each core.")] = None,
    shard: Annotated[int, typer.Option(min=1, help="Images in each of the tables that Ray's workers write.")] = 1000,
) -> None:
    """Classify image files without a server, going on after bad ones; exit code 1 if there were any."""
    from service.offline import classify as offline

    if format not in ("jsonl", "csv"):
        raise BadParameter(f"--format is {format!r}. Use jsonl or csv.")
    if engine not in ("threads", "ray"):
        raise BadParameter(f"--engine is {engine!r}. Use threads or ray.")
    if engine == "ray" and output is None:
        raise BadParameter("Ray's workers write a folder of tables. Name it with --output.")
    settings = read_settings()
    files = offline.find_files(paths)
    stored = offline.find_model(model, version, fast=fast)
    kind: TableFormat = "csv" if format == "csv" else "jsonl"
    if engine == "ray" and output is not None:
        from service.offline.ray import terms_of

        terms = terms_of(stored, settings, paths, kind=kind, top_k=top_k, shard=shard)
        _classify_on_ray(output, terms, files, stored, settings, workers)
        return
    served = offline.load(stored, settings)
    bad: list[tuple[Path, CatseyeError]] = []
    with _opened(output) as out, _progress() as progress:
        table = offline.Table(out, kind, served, top_k)
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
        bad = run.keep_errors()
        for path, detail in run.first_errors(_SHOWN):
            typer.echo(f"catseye: {path}: {detail}", err=True)
    typer.echo(f"catseye: {run.images - bad} files are classified in {folder}.", err=True)
    if bad:
        listed = folder / run_folder.ERRORS_FILE
        typer.echo(f"catseye: {bad} of {run.images} files could not be classified; {listed} lists them.", err=True)
        raise typer.Exit(1)


def _progress() -> "Progress":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)


@app.command()
def features(
    paths: Paths,
    layer: Annotated[list[str] | None, typer.Option(help="Name or index; may be repeated.")] = None,
    channels: Annotated[str | None, typer.Option(help="0,3,8-15, or strongest:8, or all.")] = None,
    format: Annotated[str | None, typer.Option(help="png, npz or json; by default as the output's name ends.")] = None,
    model: Model = None,
    version: Version = None,
    fast: Fast = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write; for several images the folder, by default features."),
    ] = None,
) -> None:
    """Draw or write what the layers of the network see in images, going on after bad ones."""
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
    """Say what was wrong with each bad file, and end with exit code 1 if there was any."""
    for path, error in bad:
        typer.echo(f"catseye: {path}: {error.detail}", err=True)
    if bad:
        typer.echo(f"catseye: {len(bad)} of {total} files could not be {done}.", err=True)
        raise typer.Exit(1)


@app.command()
def tune(
    model: Annotated[str | None, typer.Argument(help="Name in the store; by default the one stored last.")] = None,
    version: Version = None,
    fast: Fast = False,
    seconds: Annotated[float, typer.Option(min=0.05, max=600, help="How long to measure each plan.")] = 1.0,
    plot: Annotated[Path | None, typer.Option(help="Plot to write (PNG); by default beside the plan.")] = None,
) -> None:
    """Measure how to run a classifier fastest on this machine, and keep the plan for the service."""
    from rich.console import Console
    from rich.progress import Progress

    from service.inference import execution_plan, tuning
    from service.offline import classify as offline

    settings = read_settings()
    stored = offline.find_model(model, version, fast=fast)
    tried = tuning.candidates(settings, brief=False)
    with Progress(console=Console(stderr=True), transient=True) as progress:
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
        console.print("Others kept the processors busy, so the next start measures again; tune on a quiet machine.")
    console.print(f"Kept in {path}; the service takes it when it starts.", soft_wrap=True)
    _plot(measured, chosen, title, plot or path.with_suffix(".png"), asked=plot is not None)


def _table_of(measured: "list[Plan]", chosen: "Plan", title: str) -> "Table":
    from rich.table import Table

    most = max(plan.images_per_second for plan in measured)
    table = Table(title=title)
    for heading in ("at once", "threads", "batch", "wait ms", "images/s", "p50 ms"):
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


@contextmanager
def _opened(path: Path | None) -> Iterator[IO[str]]:
    if path is None:
        yield sys.stdout
        return
    with output_errors(path):
        file = path.open("w", encoding="utf-8", newline="")
    with file:
        yield file
