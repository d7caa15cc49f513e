"""A classifier's head as arrays: logits = embedding @ kernel + bias, for each precision of the network below it.

A network that was rounded to int8 sees slightly other features, and a head that knows it answers better: it is the
float network's head, moved as little as it takes to give the float network's answers.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.arrays import Floats
from models.card import FilePrecision, Precision

HeadArrays = tuple[Floats, Floats]
"""Kernel (embedding, classes) and bias (classes,)."""

HEAD_FILE = "head.npz"
_PREFIX: Mapping[Precision, str] = {"float32": "", "int8": "int8_"}
_PENALTIES = np.logspace(-2, 6, 33)
_SMALLEST_DEVIATION = 1e-3
"""Of the largest one; features that hardly vary would otherwise be blown up."""


def read_head(folder: Path, precision: Precision = "float32") -> HeadArrays:
    """The head in a model's folder; that of float32 where the precision has none of its own.

    Raises OSError, KeyError or ValueError where the file is missing or broken.
    """
    with np.load(folder / HEAD_FILE, allow_pickle=False) as arrays:
        prefix = _PREFIX.get(precision, "")
        if f"{prefix}kernel" not in arrays:
            prefix = ""
        return np.asarray(arrays[f"{prefix}kernel"], np.float32), np.asarray(arrays[f"{prefix}bias"], np.float32)


def write_head(folder: Path, heads: Mapping[FilePrecision, HeadArrays]) -> None:
    """Write the heads of all precisions into a folder that is not in the store yet."""
    arrays: dict[str, Any] = {}
    for precision, (kernel, bias) in heads.items():
        arrays |= {f"{_PREFIX[precision]}kernel": kernel, f"{_PREFIX[precision]}bias": bias}
    np.savez(folder / HEAD_FILE, **arrays)


def refit(head: HeadArrays, embedding: Floats, logits: Floats) -> HeadArrays:
    """The head moved so that ``embedding`` (images, features) gives the wanted ``logits`` (images, classes).

    Ridge regression of what is missing on the standardised features, so that with a large penalty the head stays
    as it is; the penalty is the one of the least generalised cross-validation (Golub, Heath and Wahba 1979). In the
    dual form, whose cost goes with the images, not with the features, of which there may be thousands.
    """
    kernel, bias = (part.astype(np.float64) for part in head)
    features = embedding.astype(np.float64)
    mean, deviation = features.mean(0), features.std(0)
    deviation = np.maximum(deviation, max(_SMALLEST_DEVIATION * deviation.max(), np.finfo(np.float32).tiny))
    standard = (features - mean) / deviation
    missing = logits - (features @ kernel + bias)
    offset = missing.mean(0)
    values, vectors = np.linalg.eigh(standard @ standard.T)
    values = np.maximum(values, 0)
    seen = vectors.T @ (missing - offset)
    penalty = min(_PENALTIES, key=lambda each: _cross_validation(each, values, seen))
    moved = standard.T @ (vectors @ (seen / (values + penalty)[:, None])) / deviation[:, None]
    return (kernel + moved).astype(np.float32), (bias + offset - mean @ moved).astype(np.float32)


def _cross_validation(penalty: float, values: NDArray[np.float64], seen: NDArray[np.float64]) -> float:
    """Generalised cross-validation of a penalty, from the eigenvalues and what is missing in their directions."""
    left = penalty / (values + penalty)
    # The mean was taken out too, which is one more direction that is fitted.
    return float(np.sum((left[:, None] * seen) ** 2) / max(left.sum() - 1, 1e-9) ** 2)
