"""Labelled images as arrays: labels, weights, targets, and pixels, decoded in parallel a batch at a time."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.errors import BadData, CatseyeError
from models.image.decode import DEFAULT_LIMITS, Limits, content_hash, decode
from training.data.layouts import SplitName
from training.data.validate import decode_threads

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One labelled image that can be read."""

    path: Path
    label: int
    sha256: str
    split: SplitName
    weight: float = 1.0
    target: tuple[float, ...] | None = None
    """Probability of each label where the data give them; None means that ``label`` is certain."""
    stratum: str = ""


def labels_of(samples: Sequence[Sample]) -> NDArray[np.int64]:
    """Label indices ``(n,)``."""
    return np.array([sample.label for sample in samples], np.int64)


def weights_of(samples: Sequence[Sample]) -> NDArray[np.float32]:
    """Weights ``(n,)``: those of the data set, by default 1."""
    return np.array([sample.weight for sample in samples], np.float32)


def targets_of(samples: Sequence[Sample], classes: int) -> NDArray[np.float32]:
    """Target probabilities ``(n, classes)``: one-hot unless the data set gives soft targets."""
    targets = np.zeros((len(samples), classes), np.float32)
    for row, sample in zip(targets, samples, strict=True):
        if sample.target is None:
            row[sample.label] = 1.0
        else:
            row[:] = sample.target
    return targets


def load_batch(samples: Sequence[Sample], size: tuple[int, int], *, limits: Limits = DEFAULT_LIMITS) -> Pixels:
    """Pixels ``(n, height, width, 3)`` of all the samples, resized to ``size`` = (height, width).

    Raises ``BadData`` if a file was removed or changed since the data set was read.
    """
    with ThreadPoolExecutor(decode_threads()) as pool:
        images = list(pool.map(lambda sample: load_one(sample, size, limits), samples))
    return np.stack(images) if images else np.zeros((0, *size, 3), np.uint8)


def load_one(sample: Sample, size: tuple[int, int] | None, limits: Limits = DEFAULT_LIMITS) -> Pixels:
    """Pixels ``(height, width, 3)`` of one file, decoded as in serving; ``BadData`` as ``load_batch``."""
    path = sample.path
    try:
        data = path.read_bytes()
        if content_hash(data) != sample.sha256:
            raise BadData(f"{path} was changed since the data set was read. Put it back, or start again.")
        return decode(data, size, limits)
    except BadData:
        raise
    except OSError as error:
        raise BadData(f"{path} can no longer be opened: {error.strerror}. Put it back, or start again.") from error
    except CatseyeError as error:
        raise BadData(f"{path} can no longer be read: {error.detail}") from error
