"""Run folders: one for each training run, with its settings, checkpoints, figures and report."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from models.errors import BadParameter
from models.files import write_whole
from training.config import TrainSettings, catseye_home

_SETTINGS, _DONE = "settings.json", "stored.json"


def new_run(settings: TrainSettings, data: Path) -> Path:
    """A fresh folder ``runs/NAME-TIME`` holding the settings."""
    stem = f"{settings.name}-{datetime.now(UTC):%Y%m%dt%H%M%S}"
    root = catseye_home() / "runs"
    folder = next(path for path in _candidates(root, stem) if not path.exists())
    folder.mkdir(parents=True)
    facts = {"data": str(data.absolute()), "settings": settings.as_dict()}
    write_whole(folder / _SETTINGS, json.dumps(facts, indent=2, ensure_ascii=False).encode())
    return folder


def unfinished_run(name: str) -> Path:
    """The newest run of that name that did not reach the store; BadParameter where there is none."""
    root = catseye_home() / "runs"
    folders = [path.parent for path in root.glob(f"*/{_SETTINGS}") if read_settings(path.parent)[0].name == name]
    folders = sorted(path for path in folders if not (path / _DONE).exists())
    if not folders:
        raise BadParameter(f"There is no unfinished run of {name!r} to resume. Train without --resume.")
    return folders[-1]


def read_settings(folder: Path) -> tuple[TrainSettings, Path]:
    """The settings of a run and the data it reads."""
    facts = json.loads((folder / _SETTINGS).read_text("utf-8"))
    return TrainSettings.from_dict(facts["settings"]), Path(facts["data"])


def pin_data(folder: Path, fingerprint: str) -> None:
    """Remember the data's hash, or refuse data that changed since the run began."""
    path = folder / "data.sha256"
    if path.exists() and path.read_text() != fingerprint:
        raise BadParameter("The images changed since that run began. Train without --resume.")
    write_whole(path, fingerprint.encode())


def mark_done(folder: Path, tag: str) -> None:
    """Note the stored model, and drop the checkpoints that are not needed any more."""
    write_whole(folder / _DONE, json.dumps({"model": tag}).encode())
    for path in folder.glob("checkpoint-*.npz"):
        path.unlink()


def _candidates(root: Path, stem: str) -> Iterator[Path]:
    yield root / stem
    for number in count(2):
        yield root / f"{stem}-{number}"
