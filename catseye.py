"""The command line: joins the commands of training and of service, importing each package only when it is called.

``catseye NAME ...`` finds NAME in ``COMMANDS``, imports that module's typer app and passes it the whole line, so that
``catseye --help`` costs no TensorFlow, and the commands of service work where it is not installed.
"""

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer


@dataclass(frozen=True)
class Command:
    """Where a command lives, and the line that ``catseye --help`` shows for it."""

    module: str
    help: str


COMMANDS: dict[str, Command] = {
    "train": Command("training.cli", "Train a classifier on a folder of class folders."),
    "backbones": Command("training.cli", "List the networks that can be trained."),
    "models": Command("training.cli", "List the classifiers in the store."),
    "evaluate": Command("training.cli", "Measure a stored classifier on a folder of labelled images."),
    "export": Command("training.cli", "Write a stored classifier to a file for another store."),
    "import": Command("training.cli", "Read a classifier from such a file into the store."),
    "distill": Command("training.cli", "Train a fast student on a stored classifier's answers."),
    "compare": Command("training.cli", "MLP, CNN, feature extraction and fine-tuning side by side."),
    "serve": Command("service.cli", "Serve the store's classifiers over HTTP."),
    "classify": Command("service.cli", "Classify image files without a server."),
    "features": Command("service.cli", "Draw the feature maps of an image."),
    "tune": Command("service.cli", "Measure how to run a classifier fastest on this machine."),
}

EXTRAS: dict[str, tuple[str, ...]] = {
    "train": ("jinja2", "keras", "matplotlib", "nncf", "scipy", "sklearn", "tensorflow"),
    "ray": ("pandas", "pyarrow", "ray"),
    "serve": ("fastapi", "httptools", "multipart", "orjson", "prometheus_client", "uvicorn", "uvloop"),
}
"""Modules that only an extra of the distribution installs."""

_PACKAGES = ("models", "service", "training")

cli = typer.Typer(
    help="From a folder of labelled images to a monitored classification service.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"catseye {version('catseye')}")
        raise typer.Exit


@cli.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def _list(name: str, command: Command) -> None:
    """Put a command into the help; ``main`` passes its line to its own module before this would run it."""
    panel = "Training" if command.module.startswith("training") else "Serving"
    cli.command(name, help=command.help, rich_help_panel=panel)(lambda: None)


for _name, _command in COMMANDS.items():
    _list(_name, _command)


def _missing_extra(error: ModuleNotFoundError) -> str | None:
    """The extra that would install the module that was not found, if one would."""
    top = (error.name or "").partition(".")[0]
    return next((extra for extra, modules in EXTRAS.items() if top in modules), None)


def _other_package() -> str | None:
    """Where a package of ours would be imported from another distribution or folder, if one would."""
    for name in _PACKAGES:
        found = importlib.util.find_spec(name)
        ours = Path(__file__).resolve().parent / name / "__init__.py"
        if found is None or found.origin is None or Path(found.origin).resolve() != ours:
            places = list(found.submodule_search_locations or []) if found else []
            return places[0] if places else name
        # Another distribution's, installed into the same folder, may have overwritten it.
        if "catseye" not in ours.read_text(errors="replace"):
            return str(ours.parent)
    return None


def _run(arguments: Sequence[str]) -> None:
    """Pass the line to the module that has its command, or answer it here (help, version, unknown names)."""
    command = COMMANDS.get(arguments[0]) if arguments else None
    app = importlib.import_module(command.module).app if command else cli
    app(args=list(arguments), prog_name="catseye")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command line; a user's mistake ends in one sentence on stderr and exit code 2."""
    if other := _other_package():
        typer.echo(
            f"catseye: {other} is not catseye's package of that name. Run it from another folder, or install catseye "
            "in a virtual environment of its own.",
            err=True,
        )
        sys.exit(2)
    from models.errors import CatseyeError

    try:
        _run(sys.argv[1:] if arguments is None else arguments)
    except CatseyeError as error:
        typer.echo(f"catseye: {error.detail}", err=True)
        sys.exit(2)
    except ModuleNotFoundError as error:
        extra = _missing_extra(error)
        if extra is None:
            raise
        typer.echo(
            f"catseye: this command needs {error.name}, which is not installed here; "
            f"install it with: pip install 'catseye[{extra}]' (in a checkout: pip install -e '.[{extra}]').",
            err=True,
        )
        sys.exit(2)


if __name__ == "__main__":
    main()
