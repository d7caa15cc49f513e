"""The commands of training. TensorFlow is imported inside a command, never by this module."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from models.environment import import_tensorflow
from models.errors import BadParameter, CatseyeError
from models.network.backbones import list_backbones
from models.store import store
from training.config import Depths, Freeze, Int8, Mirror, TrainSettings
from training.report.console import console, plain_table, print_table

app = typer.Typer(no_args_is_help=True, help="Train classifiers and look after them.")
_DEFAULTS = TrainSettings(name="defaults")


@contextmanager
def plain_errors() -> Iterator[None]:
    """Print what the user can put right as one sentence, and leave with status 2."""
    try:
        yield
    except CatseyeError as error:
        typer.secho(f"Error: {error.detail}", fg="red", err=True)
        raise typer.Exit(2) from None


@app.command()
def train(
    data: Annotated[Path, typer.Argument(help="Folder of class folders, or a CSV (path, label).")],
    name: Annotated[str, typer.Option(help="Name of the model in the store.")],
    backbone: Annotated[str, typer.Option(help="See `catseye backbones`.")] = _DEFAULTS.backbone,
    weights: Annotated[
        str, typer.Option(help="auto, imagenet, dogs, none, store:NAME, or a file.")
    ] = _DEFAULTS.weights,
    freeze: Annotated[Freeze, typer.Option(help="What stays frozen in phase 2.")] = _DEFAULTS.freeze,
    size: Annotated[int | None, typer.Option(help="Pixels a side; the network's own by default.")] = None,
    depths: Annotated[Depths, typer.Option(help="Maps that the head averages.")] = _DEFAULTS.depths,
    mirror: Annotated[Mirror, typer.Option(help="Mirror images to train on too.")] = _DEFAULTS.mirror,
    augment: Annotated[
        str, typer.Option(help="Vary training images: usual, all, none, or for example 'flip, rotate=15, brightness'.")
    ] = _DEFAULTS.augment,
    head_epochs: Annotated[int, typer.Option(help="Most epochs of the new head alone.")] = _DEFAULTS.head_epochs,
    epochs: Annotated[int, typer.Option(help="Most epochs of fine-tuning.")] = _DEFAULTS.epochs,
    patience: Annotated[int, typer.Option(help="Epochs without progress before it stops.")] = _DEFAULTS.patience,
    batch_size: Annotated[int, typer.Option(help="Images a step.")] = _DEFAULTS.batch_size,
    learning_rate: Annotated[float, typer.Option(help="Of the head.")] = _DEFAULTS.learning_rate,
    slower: Annotated[
        float, typer.Option(help="Fine-tuning moves things so many times less in a step.")
    ] = _DEFAULTS.slower,
    layer_decay: Annotated[
        float, typer.Option(help="In fine-tuning each stage learns so many times as fast as the one above.")
    ] = _DEFAULTS.layer_decay,
    clip_norm: Annotated[
        float, typer.Option(help="Norm that a fine-tuning step's gradient may have; 0: any.")
    ] = _DEFAULTS.clip_norm,
    dropout: Annotated[float, typer.Option(help="Share of features dropped.")] = _DEFAULTS.dropout,
    l2: Annotated[float, typer.Option(help="Weight of the squared kernel.")] = _DEFAULTS.l2,
    batch_norm: Annotated[bool, typer.Option(help="Batch normalisation in the head.")] = False,
    label_smoothing: Annotated[float, typer.Option(help="Share of every target spread evenly.")] = 0.0,
    class_weights: Annotated[bool, typer.Option(help="Let small classes weigh as much as large.")] = False,
    seed: Annotated[int, typer.Option(help="Of the split, the weights and the order.")] = _DEFAULTS.seed,
    variant_of: Annotated[str | None, typer.Option(help="Store it as the fast variant of this model.")] = None,
    int8: Annotated[Int8, typer.Option(help="auto: serve int8 if it is as right; off: float only.")] = _DEFAULTS.int8,
    int8_drop: Annotated[float, typer.Option(help="Points of accuracy that int8 may lose.")] = _DEFAULTS.int8_drop,
    allow_unreadable: Annotated[
        bool, typer.Option(help="Go on where more than one file in twenty cannot be read.")
    ] = False,
    resume: Annotated[bool, typer.Option(help="Go on with the newest unfinished run of that name.")] = False,
) -> None:
    """Train a classifier on a folder of images and store it."""
    with plain_errors():
        settings = TrainSettings(
            name=name,
            backbone=backbone,
            weights=weights,
            freeze=freeze,
            size=size,
            depths=depths,
            mirror=mirror,
            augment=augment,
            head_epochs=head_epochs,
            epochs=epochs,
            patience=patience,
            batch_size=batch_size,
            learning_rate=learning_rate,
            slower=slower,
            layer_decay=layer_decay,
            clip_norm=clip_norm,
            dropout=dropout,
            l2=l2,
            batch_norm=batch_norm,
            label_smoothing=label_smoothing,
            class_weights=class_weights,
            seed=seed,
            variant_of=variant_of,
            int8=int8,
            int8_drop=int8_drop,
            allow_unreadable=allow_unreadable,
        )
        import_tensorflow()
        from training.fit.distributed import workers_here
        from training.pipeline import assist
        from training.pipeline import train as run

        workers = workers_here()
        if workers is not None and not workers.chief:
            console.quiet = True
            assist(data, settings, workers)
            console.quiet = False
            console.print(f"Worker {workers.number} is done; worker 0 stores the model.")
            return
        stored = run(data, settings, resume=resume, workers=workers)
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
        bool, typer.Option(help="Go on where more than one file in twenty cannot be read.")
    ] = False,
) -> None:
    """Measure a stored classifier on labelled images it has not seen."""
    with plain_errors():
        from training.evaluate.command import measure

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
def distill(
    teacher: Annotated[str, typer.Argument(help="NAME or NAME:VERSION in the store.")],
    data: Annotated[
        Path | None, typer.Argument(help="The images that trained it; by default where its run was.")
    ] = None,
    backbone: Annotated[str, typer.Option(help="The student's network.")] = _DEFAULTS.backbone,
    name: Annotated[str | None, typer.Option(help="The student's name; the teacher's and -fast by default.")] = None,
    weights: Annotated[str, typer.Option(help="What the student starts from.")] = _DEFAULTS.weights,
    freeze: Annotated[Freeze, typer.Option(help="What stays frozen in phase 2.")] = _DEFAULTS.freeze,
    size: Annotated[int | None, typer.Option(help="Pixels a side; the network's own by default.")] = None,
    head_epochs: Annotated[int | None, typer.Option(help="Most epochs of the head; the teacher's by default.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Most epochs of fine-tuning; the teacher's by default.")] = None,
    temperature: Annotated[float, typer.Option(help="Softens the teacher's answers.")] = _DEFAULTS.temperature,
    teacher_share: Annotated[float, typer.Option(help="Weight of the teacher; the labels' is the rest.")] = (
        _DEFAULTS.teacher_share
    ),
) -> None:
    """Train a fast student on a stored classifier's answers, and say what that gained."""
    with plain_errors():
        import_tensorflow()
        from training.distill.command import StudentSettings
        from training.distill.command import distill as run

        student = StudentSettings(
            backbone=backbone,
            name=name,
            weights=weights,
            freeze=freeze,
            size=size,
            head_epochs=head_epochs,
            epochs=epochs,
            temperature=temperature,
            teacher_share=teacher_share,
        )
        stored = run(store.get(teacher), student, data)
        console.print(f"Stored {stored.tag}, the fast variant of {stored.card.variant_of}.", highlight=False)


@app.command()
def compare(
    data: Annotated[Path, typer.Argument(help="Folder of class folders, or a CSV (path, label).")],
    backbone: Annotated[str, typer.Option(help="The pretrained network beside MLP and CNN.")] = _DEFAULTS.backbone,
    weights: Annotated[str, typer.Option(help="auto, imagenet, dogs, store:NAME, or a file.")] = _DEFAULTS.weights,
    freeze: Annotated[Freeze, typer.Option(help="What stays frozen in fine-tuning; auto: most.")] = _DEFAULTS.freeze,
    size: Annotated[int | None, typer.Option(help="Pixels a side, for all four.")] = None,
    mirror: Annotated[Mirror, typer.Option(help="Mirror images to train on too.")] = _DEFAULTS.mirror,
    head_epochs: Annotated[int, typer.Option(help="Most epochs of a new head.")] = _DEFAULTS.head_epochs,
    epochs: Annotated[int, typer.Option(help="Most epochs of fine-tuning.")] = _DEFAULTS.epochs,
    seed: Annotated[int, typer.Option(help="Of the split, the weights and the order.")] = _DEFAULTS.seed,
) -> None:
    """MLP, small CNN, feature extraction and fine-tuning on one split, and on shifted test images."""
    with plain_errors():
        settings = TrainSettings(
            name="compare",
            backbone=backbone,
            weights=weights,
            freeze=freeze,
            size=size,
            mirror=mirror,
            head_epochs=head_epochs,
            epochs=epochs,
            seed=seed,
        )
        import_tensorflow()
        from training.examples.compare import compare as run

        run(data, settings)


if __name__ == "__main__":
    app()
