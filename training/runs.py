"""Run folders: one for each training run, with its settings, checkpoints, figures and report."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from models.errors import BadParameter
from models.files import disk_errors, write_whole
from training.config import TrainSettings, catseye_home

_SETTINGS, _DONE, _LOCK = "settings.json", "stored.json", "lock"


def new_run(settings: TrainSettings, data: Path) -> Path:
    """A fresh folder ``runs/NAME-TIME`` holding the settings."""
    stem = f"{settings.name}-{datetime.now(UTC):%Y%m%dt%H%M%S}"
    root = catseye_home() / "runs"
    with on_disk(root):
        root.mkdir(parents=True, exist_ok=True)
        folder = next(path for path in _candidates(root, stem) if _made(path))
    facts = {"data": str(data.absolute()), "settings": settings.as_dict()}
    with on_disk(folder):
        write_whole(folder / _SETTINGS, json.dumps(facts, indent=2, ensure_ascii=False).encode())
    return folder


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Work on a run alone; BadParameter where another process does. The kernel lets go for a killed process."""
    with on_disk(folder):
        handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if not _locked(handle):
            raise BadParameter(f"The run in {folder} is still going on. Wait for it, or end it first.")
        yield
    finally:
        os.close(handle)


def unfinished_run(name: str) -> Path:
    """The newest run of that name that neither reached the store nor goes on; BadParameter where there is none."""
    root = catseye_home() / "runs"
    folders = [path.parent for path in root.glob(f"*/{_SETTINGS}") if read_settings(path.parent)[0].name == name]
    folders = sorted(path for path in folders if not (path / _DONE).exists())
    idle = [path for path in folders if not _busy(path)]
    if folders and not idle:
        raise BadParameter(f"The run in {folders[-1]} is still going on. Wait for it, or end it first.")
    if not idle:
        raise BadParameter(f"There is no unfinished run of {name!r} to resume. Train without --resume.")
    return idle[-1]


def read_settings(folder: Path) -> tuple[TrainSettings, Path]:
    """The settings of a run and the data it reads."""
    facts = json.loads((folder / _SETTINGS).read_text("utf-8"))
    return TrainSettings.from_dict(facts["settings"]), Path(facts["data"])


def pin_data(folder: Path, fingerprint: str) -> None:
    """Remember the data's hash, or refuse data that changed since the run began."""
    path = folder / "data.sha256"
    if path.exists() and path.read_text() != fingerprint:
        raise BadParameter("The images changed since that run began. Train without --resume.")
    with on_disk(folder):
        write_whole(path, fingerprint.encode())


def mark_done(folder: Path, tag: str) -> None:
    """Note the stored model, and drop the checkpoints that are not needed any more."""
    write_whole(folder / _DONE, json.dumps({"model": tag}).encode())
    for path in folder.glob("checkpoint-*.npz"):
        path.unlink()


def _made(folder: Path) -> bool:
    """Whether the folder is new: of two runs that begin at once only one gets it."""
    try:
        folder.mkdir()
    except FileExistsError:
        return False
    return True


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _busy(folder: Path) -> bool:
    try:
        with held(folder):
            return False
    except BadParameter:
        return True


def on_disk(folder: Path) -> AbstractContextManager[None]:
    """``disk_errors`` for what a run writes."""
    advice = "Free some space, then go on with --resume, or set CATSEYE_HOME to another disk."
    return disk_errors(f"The run cannot be kept in {folder}", advice)


def _candidates(root: Path, stem: str) -> Iterator[Path]:
    yield root / stem
    for number in count(2):
        yield root / f"{stem}-{number}"
