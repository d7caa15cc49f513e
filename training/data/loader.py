"""Pixels of samples, decoded in parallel a batch at a time."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.errors import BadData, CatseyeError
from models.image.decode import DEFAULT_LIMITS, Limits, content_hash, decode
from training.data.validate import decode_threads

Pixels = NDArray[np.uint8]


class HasFile(Protocol):
    """An image file with a known hash, such as a ``Sample``."""

    @property
    def path(self) -> Path:
        """The image file."""
        ...

    @property
    def sha256(self) -> str:
        """Hash of its content when the data set was read."""
        ...


def load_batch(samples: Sequence[HasFile], size: tuple[int, int], *, limits: Limits = DEFAULT_LIMITS) -> Pixels:
    """Pixels ``(n, height, width, 3)`` of all the samples, resized to ``size`` = (height, width).

    Raises ``BadData`` if a file was removed or changed since the data set was read.
    """
    with ThreadPoolExecutor(decode_threads()) as pool:
        images = list(pool.map(lambda sample: load_one(sample, size, limits), samples))
    return np.stack(images) if images else np.zeros((0, *size, 3), np.uint8)


def load_one(sample: HasFile, size: tuple[int, int] | None, limits: Limits = DEFAULT_LIMITS) -> Pixels:
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
