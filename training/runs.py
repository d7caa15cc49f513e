"""Run folders: one for each training run, with its settings, checkpoints, figures and report."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from models.errors import BadParameter
from models.files import disk_errors, write_whole
from training.config import TrainSettings, catseye_home
from training.console import console

_SETTINGS, _DONE, _LOCK = "settings.json", "stored.json", "lock"


def new_run(settings: TrainSettings, data: Path) -> Path:
    """Make a folder ``runs/NAME-TIME`` that holds the settings."""
    stem = f"{settings.name}-{datetime.now(UTC):%Y%m%dt%H%M%S}"
    root = catseye_home() / "runs"
    with on_disk(root):
        root.mkdir(parents=True, exist_ok=True)
        for number in count(1):  # Of runs that start at the same time only one can make the folder.
            folder = root / (stem if number == 1 else f"{stem}-{number}")
            with suppress(FileExistsError):
                folder.mkdir()
                break
    facts = {"data": str(data.absolute()), "settings": settings.as_dict()}
    with on_disk(folder):
        write_whole(folder / _SETTINGS, json.dumps(facts, indent=2, ensure_ascii=False).encode())
    return folder


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Lock a run; BadParameter where another process has it. The kernel releases the lock of a killed process."""
    with on_disk(folder):
        handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadParameter(f"The run in {folder} is still going on. Wait for it, or stop it first.") from None
        yield
    finally:
        os.close(handle)


def unfinished_run(name: str) -> Path:
    """The newest run of that name that is neither stored nor still going on; BadParameter where there is none.

    A run whose settings this version does not know is skipped; one line names it.
    """
    folders = sorted(path.parent for path in (catseye_home() / "runs").glob(f"*/{_SETTINGS}"))
    folders = [folder for folder in folders if not (folder / _DONE).exists() and _is_of(folder, name)]
    idle = [folder for folder in folders if not _busy(folder)]
    if folders and not idle:
        raise BadParameter(f"The run in {folders[-1]} is still going on. Wait for it, or stop it first.")
    if not idle:
        raise BadParameter(f"There is no unfinished run of {name!r} to resume. Train without --resume.")
    return idle[-1]


def read_settings(folder: Path) -> tuple[TrainSettings, Path]:
    """The settings of a run and the data it reads."""
    facts = json.loads((folder / _SETTINGS).read_text("utf-8"))
    return TrainSettings.from_dict(facts["settings"]), Path(facts["data"])


def pin_data(folder: Path, fingerprint: str) -> None:
    """Record the hash of the data; BadParameter where it changed since the run began."""
    path = folder / "data.sha256"
    if path.exists() and path.read_text() != fingerprint:
        raise BadParameter("The images changed since that run began. Train without --resume.")
    with on_disk(folder):
        write_whole(path, fingerprint.encode())


def mark_done(folder: Path, tag: str) -> None:
    """Record the stored model, and remove the checkpoints."""
    write_whole(folder / _DONE, json.dumps({"model": tag}).encode())
    for path in folder.glob("checkpoint-*.npz"):
        path.unlink()


def _is_of(folder: Path, name: str) -> bool:
    """Whether it is a run of that name that can be resumed."""
    try:
        if json.loads((folder / _SETTINGS).read_text("utf-8"))["settings"]["name"] != name:
            return False
        read_settings(folder)
        return True
    except (BadParameter, ValueError, KeyError, TypeError, OSError) as error:
        reason = error.detail.partition(". ")[0] if isinstance(error, BadParameter) else "its settings cannot be read"
        console.print(f"Skipped the run in {folder}: {reason}.", highlight=False, markup=False)
        return False


def _busy(folder: Path) -> bool:
    try:
        with held(folder):
            return False
    except BadParameter:
        return True


def on_disk(folder: Path, what: str = "The run") -> AbstractContextManager[None]:
    """``disk_errors`` for what a run writes: a ``StoreError`` that says what to do."""
    advice = "Free some space and continue with --resume, or set CATSEYE_HOME to another disk."
    return disk_errors(f"{what} cannot be written to {folder}", advice)
