"""The training history: the metrics of every epoch, kept as ``history.json`` in a model's folder."""

from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, ValidationError

from models.card import Part
from models.errors import StoreError

HISTORY_FILE = "history.json"


class Phase(Part):
    """One phase of training, such as the head only."""

    model_config = ConfigDict(frozen=True, extra="ignore", from_attributes=True)

    phase: str
    best_epoch: int
    """The epoch whose weights were kept, counted from 1; 0 is the state before the first."""
    history: tuple[dict[str, float | None], ...]
    """For each epoch ``epoch``, ``loss``, ``accuracy`` and, with validation images, ``val_loss`` and so on.

    A value that is not finite is None.
    """


class History(Part):
    """The phases of a run in order; none for a model that was imported."""

    schema_version: Literal[1] = 1
    phases: tuple[Phase, ...] = ()


def read_history(folder: Path) -> History:
    """The history in a model's folder, empty where there is none; ``StoreError`` for a broken file."""
    path = folder / HISTORY_FILE
    try:
        return History.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return History()
    except (OSError, ValidationError) as error:
        reason = f"{HISTORY_FILE} of model {folder.parent.name}:{folder.name} cannot be read."
        raise StoreError(f"{reason} Store the model again.") from error
