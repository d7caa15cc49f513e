"""Checkpoints: the state after the last whole epoch, written in one step, so ``kill -9`` loses at most one epoch."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from models.files import replace_whole
from training.runs import on_disk

Arrays = list[NDArray[Any]]


@dataclass
class Progress:
    """State of one phase of training."""

    phase: str
    epoch: int = 0
    """Finished epochs."""
    finished: bool = False
    best: float = float("inf")
    """Lowest validation loss so far."""
    best_epoch: int = 0
    """The epoch that reached it; 0 is the state before the first epoch."""
    history: list[dict[str, float]] = field(default_factory=list)
    arrays: Mapping[str, Arrays] = field(default_factory=dict)
    """``weights`` now, ``best`` and ``optimizer``, each a list of arrays."""


class Checkpoint:
    """One file for each phase in a run's folder."""

    def __init__(self, folder: Path, *, kept: bool = True) -> None:
        self.folder, self.kept = folder, kept

    def load(self, phase: str) -> Progress | None:
        """The saved state of that phase; None where there is none or it cannot be read."""
        try:
            with np.load(self._path(phase), allow_pickle=False) as file:
                facts = json.loads(str(file["facts"]))
                names: Sequence[str] = facts.pop("names")
                arrays = {name: _numbered(file, name) for name in names}
        except (OSError, ValueError, KeyError, BadZipFile):
            return None
        return Progress(**facts, arrays=arrays)

    def save(self, progress: Progress) -> None:
        """Replace the phase's file, except in workers other than the chief.

        Raises StoreError where the disk is full; the old file is then unchanged.
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
        with on_disk(self.folder, "The state of the run"):
            replace_whole(
                self._path(progress.phase),
                lambda path: np.savez(path, facts=np.array(json.dumps(facts)), **flat),  # type: ignore[arg-type]  # numpy takes **flat for allow_pickle too
            )

    def _path(self, phase: str) -> Path:
        return self.folder / f"checkpoint-{phase}.npz"


def _numbered(file: Mapping[str, NDArray[Any]], name: str) -> Arrays:
    count = sum(1 for key in file if key.rpartition("_")[0] == name)
    return [file[f"{name}_{i}"] for i in range(count)]
