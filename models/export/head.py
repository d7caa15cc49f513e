"""A classifier's head as arrays: logits = embedding @ kernel + bias. int8 may have a head of its own, fitted to it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from models.arrays import Floats
from models.card import FilePrecision, Precision
from models.errors import StoreError

HeadArrays = tuple[Floats, Floats]
"""Kernel (embedding, classes) and bias (classes,)."""

HEAD_FILE = "head.npz"
_PREFIX: Mapping[Precision, str] = {"float32": "", "int8": "int8_"}


def read_head(folder: Path, precision: Precision = "float32") -> HeadArrays:
    """The head in a model's folder; that of float32 where the precision has none of its own.

    Raises ``StoreError`` where the file is missing or broken.
    """
    try:
        with np.load(folder / HEAD_FILE, allow_pickle=False) as arrays:
            prefix = _PREFIX.get(precision, "")
            if f"{prefix}kernel" not in arrays:
                prefix = ""
            return np.asarray(arrays[f"{prefix}kernel"], np.float32), np.asarray(arrays[f"{prefix}bias"], np.float32)
    except (OSError, EOFError, KeyError, ValueError, BadZipFile) as error:
        raise StoreError(
            f"{HEAD_FILE} of model {folder.parent.name}:{folder.name} cannot be read. Store the model again."
        ) from error


def write_head(folder: Path, heads: Mapping[FilePrecision, HeadArrays]) -> None:
    """Write the heads of all precisions into a folder that is not in the store yet."""
    arrays: dict[str, Any] = {}
    for precision, (kernel, bias) in heads.items():
        arrays |= {f"{_PREFIX[precision]}kernel": kernel, f"{_PREFIX[precision]}bias": bias}
    np.savez(folder / HEAD_FILE, **arrays)
