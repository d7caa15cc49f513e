"""The state of a run after its last whole epoch: one file, written whole, so that ``kill -9`` costs one epoch."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from models.files import disk_errors, replace_whole

Arrays = list[NDArray[Any]]


@dataclass
class Progress:
    """Where one phase of training stands."""

    phase: str
    epoch: int = 0
    """Epochs done."""
    finished: bool = False
    best: float = float("inf")
    """Lowest validation loss so far."""
    best_epoch: int = 0
    """The epoch that reached it; 0 is the state before the first."""
    history: list[dict[str, float]] = field(default_factory=list)
    arrays: Mapping[str, Arrays] = field(default_factory=dict)
    """``weights`` now, ``best`` and ``optimizer``, each a list of arrays."""


class Checkpoint:
    """One file for each phase in a run's folder."""

    def __init__(self, folder: Path, *, kept: bool = True) -> None:
        self.folder, self.kept = folder, kept

    def load(self, phase: str) -> Progress | None:
        """What was saved for that phase, or None; a file that cannot be read counts as none."""
        try:
            with np.load(self._path(phase), allow_pickle=False) as file:
                facts = json.loads(str(file["facts"]))
                names: Sequence[str] = facts.pop("names")
                arrays = {name: _numbered(file, name) for name in names}
        except (OSError, ValueError, KeyError, BadZipFile):
            return None
        return Progress(**facts, arrays=arrays)

    def save(self, progress: Progress) -> None:
        """Replace the phase's file; StoreError where the disk is full, and the old file stays.

        Nothing is written where another worker keeps the state.
        """
        if not self.kept:
            return
        facts = {
            "phase": progress.phase,
            "epoch": progress.epoch,
            "finished": progress.finished,
            "best": progress.best,
            "best_epoch": progress.best_epoch,
            "history": progress.history,
            "names": list(progress.arrays),
        }
        flat = {f"{name}_{i}": a for name, some in progress.arrays.items() for i, a in enumerate(some)}
        with disk_errors(
            f"The state of the run cannot be kept in {self.folder}", "Free some space, then go on with --resume."
        ):
            replace_whole(
                self._path(progress.phase),
                lambda path: np.savez(path, facts=np.array(json.dumps(facts)), **flat),  # type: ignore[arg-type]  # numpy takes **flat for allow_pickle too
            )

    def _path(self, phase: str) -> Path:
        return self.folder / f"checkpoint-{phase}.npz"


def _numbered(file: Mapping[str, NDArray[Any]], name: str) -> Arrays:
    count = sum(1 for key in file if key.rpartition("_")[0] == name)
    return [file[f"{name}_{i}"] for i in range(count)]
