"""Pixels of many samples, decoded a batch at a time and ahead of need; never the whole data set at once."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from models.errors import BadData, CatseyeError
from models.image.decode import DEFAULT_LIMITS, Limits, content_hash, decode
from training.data.validate import workers

Pixels = NDArray[np.uint8]


class HasFile(Protocol):
    """Anything with a file: a ``Sample``, above all."""

    @property
    def path(self) -> Path:
        """The image file."""
        ...

    @property
    def sha256(self) -> str:
        """What its bytes were when the data set was read."""
        ...


class Batch(NamedTuple):
    """``images`` (n, height, width, 3), and the places of their samples in the sequence that was given."""

    images: Pixels
    indices: NDArray[np.int64]


def load_batch(samples: Sequence[HasFile], size: tuple[int, int], *, limits: Limits = DEFAULT_LIMITS) -> Pixels:
    """Pixels ``(n, height, width, 3)`` of all the samples, stretched to ``size`` = (height, width).

    Raises ``BadData`` where a file has gone or changed since the data set was read.
    """
    with ThreadPoolExecutor(workers()) as pool:
        return _stack(list(pool.map(lambda sample: load_one(sample, size, limits), samples)), size)


def load_one(sample: HasFile, size: tuple[int, int] | None, limits: Limits = DEFAULT_LIMITS) -> Pixels:
    """Pixels ``(height, width, 3)`` of one file, through the decode that serving uses; ``BadData`` as above."""
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


def batches(
    samples: Sequence[HasFile],
    size: tuple[int, int],
    batch_size: int = 32,
    *,
    seed: int | None = None,
    prefetch: int = 2,
    limits: Limits = DEFAULT_LIMITS,
) -> Iterator[Batch]:
    """The samples in batches: in their order, or shuffled where a ``seed`` is given (another one each epoch).

    ``prefetch`` batches are decoded ahead by a thread pool; memory holds those and the current one.
    """
    order = np.arange(len(samples))
    if seed is not None:
        np.random.default_rng(seed).shuffle(order)
    chunks = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    pool = ThreadPoolExecutor(workers(), thread_name_prefix="decode")
    waiting: deque[tuple[NDArray[np.int64], list[Future[Pixels]]]] = deque()

    def start(chunk: NDArray[np.int64]) -> None:
        waiting.append((chunk, [pool.submit(load_one, samples[i], size, limits) for i in chunk]))

    try:
        for chunk in chunks[: prefetch + 1]:
            start(chunk)
        for following in range(prefetch + 1, len(chunks) + prefetch + 1):
            chunk, futures = waiting.popleft()
            images = _stack([future.result() for future in futures], size)
            if following < len(chunks):
                start(chunks[following])
            yield Batch(images, chunk)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _stack(images: Sequence[Pixels], size: tuple[int, int]) -> Pixels:
    return np.stack(images) if images else np.zeros((0, *size, 3), np.uint8)
