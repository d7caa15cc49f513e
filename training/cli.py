"""The commands of training. TensorFlow is imported inside a command, never by this module."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from models.environment import import_tensorflow
from models.errors import BadParameter, CatseyeError
from models.network.backbones import list_backbones
from models.store import store
from training.config import TrainSettings
from training.console import console, plain_table, print_table

app = typer.Typer(no_args_is_help=True, help="Train classifiers and look after them.")

_DISTILLATION = {"teacher", "temperature", "teacher_share"}
"""Settings that only ``catseye distill`` offers."""
_DATA_HELP = "Folder of class folders, or a CSV (path, label)."


@contextmanager
def plain_errors() -> Iterator[None]:
    """Print what the user can put right as one sentence, and leave with status 2."""
    try:
        yield
    except CatseyeError as error:
        typer.secho(f"Error: {error.detail}", fg="red", err=True)
        raise typer.Exit(2) from None


def settings_options(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command an option for each named field of ``TrainSettings``, in place of its ``**settings``."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command)
        own = [each for each in signature.parameters.values() if each.kind is not each.VAR_KEYWORD]
        arguments = [each for each in own if each.kind is each.POSITIONAL_OR_KEYWORD]
        options = [_option(name) for name in names]
        rest = [each for each in own if each.kind is each.KEYWORD_ONLY]
        command.__signature__ = signature.replace(parameters=[*arguments, *options, *rest])  # type: ignore[attr-defined]  # what inspect.signature reads
        return command

    return decorate


def _option(name: str) -> inspect.Parameter:
    field = TrainSettings.model_fields[name]
    annotation = Annotated[field.annotation, typer.Option(help=field.description)]  # type: ignore[name-defined]  # a type known at run time
    default = inspect.Parameter.empty if field.is_required() else field.default
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


@app.command()
@settings_options(*(name for name in TrainSettings.model_fields if name not in _DISTILLATION))
def train(
    data: Annotated[Path, typer.Argument(help=_DATA_HELP)],
    *,
    resume: Annotated[bool, typer.Option(help="Resume the newest unfinished run of that name.")] = False,
    **settings: Any,
) -> None:
    """Train a classifier on a folder of images and store it."""
    with plain_errors():
        chosen = TrainSettings(**settings)
        import_tensorflow()
        from training.fit.distributed import workers_here
        from training.pipeline import assist
        from training.pipeline import train as run

        workers = workers_here()
        if not workers.chief:
            console.quiet = True
            assist(data, chosen, workers)
            console.quiet = False
            console.print(f"Worker {workers.number} is done; worker 0 stores the model.")
            return
        stored = run(data, chosen, resume=resume, workers=workers)
        console.print(f"Stored {stored.tag}. Serve it with `catseye serve`.", highlight=False)


@app.command()
def backbones(
    pattern: Annotated[str, typer.Argument(help="For example 'resnet*'.")] = "*",
) -> None:
    """List the networks to start from."""
    with plain_errors():
        rows = list_backbones(pattern)
    if not rows:
        typer.secho(f"Error: no backbone is called {pattern!r}. `catseye backbones` lists all.", fg="red", err=True)
        raise typer.Exit(2)
    table = plain_table()
    for heading in ("name", "about it", "input", "parameters", "taps", "year", "paper"):
        table.add_column(heading, justify="right" if heading in ("input", "parameters", "taps") else "left")
    for row in rows:
        table.add_row(
            row.name,
            row.about,
            str(row.input_size),
            f"{row.parameters / 1e6:.1f} M" if row.parameters else "by size",
            str(len(row.taps)),
            str(row.year),
            row.paper,
        )
    print_table(table)


@app.command()
def models(
    name: Annotated[str | None, typer.Argument(help="Only the versions of this model.")] = None,
) -> None:
    """List what the store holds, newest first."""
    with plain_errors():
        found = store.list_models(name)
    if not found:
        console.print("The store is empty: train a model with `catseye train`.")
        return
    table = plain_table()
    for heading in ("model", "backbone", "labels", "test accuracy", "95 % interval", "created"):
        table.add_column(heading)
    for model in found:
        card, metrics = model.card, model.card.metrics
        table.add_row(
            model.tag,
            card.backbone,
            str(len(card.labels)),
            f"{metrics.accuracy:.1%}" if metrics else "",
            f"{metrics.accuracy_low:.1%} to {metrics.accuracy_high:.1%}" if metrics else "",
            f"{card.created:%Y-%m-%d %H:%M}",
        )
    print_table(table)


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help="NAME or NAME:VERSION in the store.")],
    data: Annotated[Path, typer.Argument(help="Labelled images: a folder of class folders, or a CSV.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the report.")] = None,
    allow_unreadable: Annotated[
        bool, typer.Option(help=TrainSettings.model_fields["allow_unreadable"].description)
    ] = False,
) -> None:
    """Measure a stored classifier on labelled images it has not seen."""
    with plain_errors():
        from training.publish.evaluate import measure

        measure(store.get(model), data, out, allow_unreadable=allow_unreadable)


@app.command()
def export(
    model: Annotated[str, typer.Argument(help="NAME or NAME:VERSION in the store.")],
    path: Annotated[Path, typer.Argument(help="File or folder to write to.")] = Path(),
) -> None:
    """Write a stored classifier to one file, for another store or `bentoml models import`."""
    with plain_errors():
        from models.store.archive import export_archive

        console.print(f"Wrote {export_archive(model, path)}", highlight=False)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="A .bentomodel, or a Keras model: .keras or legacy .h5.")],
    name: Annotated[str | None, typer.Option(help="Name in the store; needed for a Keras model.")] = None,
    labels: Annotated[
        Path | None,
        typer.Option(help="One label a line, in the order of the outputs; with one output, that of 0 first."),
    ] = None,
    backbone: Annotated[
        str | None, typer.Option(help="The network that a Keras model is made of; recognised by itself.")
    ] = None,
) -> None:
    """Store a classifier from another store, or an existing Keras model."""
    with plain_errors():
        if file.suffix == ".bentomodel":
            from models.store.archive import import_archive

            stored = import_archive(file)
        else:
            if name is None or labels is None:
                raise BadParameter("A Keras model needs a name and labels. Give --name and --labels.")
            import_tensorflow()
            from training.interop.import_keras import import_keras, read_labels

            stored = import_keras(file, name, read_labels(labels), backbone)
        console.print(f"Stored {stored.tag}. Serve it with `catseye serve`.", highlight=False)


@app.command()
@settings_options("backbone", "weights", "freeze", "size", "temperature", "teacher_share")
def distill(
    teacher: Annotated[str, typer.Argument(help="NAME or NAME:VERSION in the store.")],
    data: Annotated[
        Path | None, typer.Argument(help="The teacher's training images; by default where its run read them.")
    ] = None,
    *,
    name: Annotated[str | None, typer.Option(help="Name of the student; by default the teacher's and -fast.")] = None,
    head_epochs: Annotated[
        int | None, typer.Option(help="Maximum number of epochs for the classifier alone; by default the teacher's.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Maximum number of epochs of fine-tuning; by default the teacher's.")
    ] = None,
    **settings: Any,
) -> None:
    """Train a fast student on a stored classifier's predictions, and report the gain."""
    with plain_errors():
        import_tensorflow()
        from training.distill import StudentSettings
        from training.distill import distill as run

        student = StudentSettings(name=name, head_epochs=head_epochs, epochs=epochs, **settings)
        stored = run(store.get(teacher), student, data)
        console.print(f"Stored {stored.tag}, the fast variant of {stored.card.variant_of}.", highlight=False)


@app.command()
@settings_options("backbone", "weights", "freeze", "size", "mirror", "head_epochs", "epochs", "seed")
def compare(data: Annotated[Path, typer.Argument(help=_DATA_HELP)], **settings: Any) -> None:
    """Compare an MLP, a small CNN, feature extraction and fine-tuning on one split, and on shifted test images.

    Fine-tuning uses --freeze most where --freeze is auto or head; the others ignore the option.
    """
    with plain_errors():
        chosen = TrainSettings(name="compare", **settings)
        import_tensorflow()
        from training.examples.compare import compare as run

        run(data, chosen)


if __name__ == "__main__":
    app()
