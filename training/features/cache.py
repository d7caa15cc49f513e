"""Features of the frozen layers, computed once through OpenVINO and cached on disk.

A row belongs to an image's SHA-256, a view of it (plain, flipped or augmented) and the hash of the frozen layers, so
a changed image, size or weight never gets stale features. Rows are stored in shards, each written in one step, and
are read through memory maps, so data sets may be larger than memory.

The cache takes at most ``CATSEYE_CACHE_GB`` (by default 10): beyond that the features that were used least recently
are removed, and one line says so. Features that a process is computing are never removed.
"""

import errno
import fcntl
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow
from numpy.typing import NDArray

from models.environment import load_openvino, no_telemetry
from models.files import replace_whole, write_whole
from training.config import cache_limit, catseye_home
from training.console import console, images_bar
from training.data.dataset import Sample, load_batch
from training.features.cached_augmentation import View, apply_view, folder_of
from training.features.frozen_trunk import FrozenTrunk
from training.runs import on_disk

Floats = NDArray[np.float32]
_BATCH = 16
_SHARD_BYTES = 64_000_000
_FLOAT16_FROM = 8_000
"""Rows wider than this are kept in half precision: feature maps, not embeddings."""
_KEEP_FREE = 1_000_000_000
"""Bytes that the cache leaves free on its disk."""


class Rows:
    """Rows of several shards in a given order, read on demand."""

    def __init__(self, shards: Sequence[NDArray[np.generic]], places: NDArray[np.int64]) -> None:
        self._shards, self._places = shards, places

    def __len__(self) -> int:
        return len(self._places)

    def take(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """The rows at ``positions``, float32 (len(positions), width)."""
        picked = [self._shards[shard][row] for shard, row in self._places[positions]]
        return np.stack(picked).astype(np.float32)

    def all(self) -> NDArray[np.float32]:
        """Every row, float32 (rows, width); for embeddings, which fit into memory."""
        return self.take(np.arange(len(self), dtype=np.int64))


class FeatureStore:
    """The rows of one network and view, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._shards: list[NDArray[np.generic]] = []
        self._index: dict[str, tuple[int, int]] = {}
        with suppress(OSError):  # The time of the last use; there may be no folder yet.
            os.utime(folder)
        for names in sorted(folder.glob("*.txt")):
            self._open(names)

    def __contains__(self, key: str) -> bool:
        return key in self._index

    def add(self, keys: Sequence[str], rows: NDArray[np.floating]) -> None:
        """Store rows (len(keys), width); StoreError where the disk is full."""
        name = uuid.uuid4().hex
        names = self.folder / f"{name}.txt"
        with on_disk(self.folder, "The features"):
            replace_whole(self.folder / f"{name}.npy", lambda path: np.save(path, rows))
            write_whole(names, "\n".join(keys).encode())
        self._open(names)

    def rows(self, keys: Sequence[str]) -> Rows:
        """The rows of ``keys`` in their order; each must be there."""
        places = np.array([self._index[key] for key in keys], np.int64).reshape(-1, 2)
        return Rows(self._shards, places)

    def _open(self, names: Path) -> None:
        keys = names.read_text().split("\n")
        try:
            shard = np.load(names.with_suffix(".npy"), mmap_mode="r")
        except (OSError, ValueError):
            return  # The rows of a shard that cannot be read are computed again.
        if len(shard) == len(keys):
            self._shards.append(shard)
            self._index.update({key: (len(self._shards) - 1, row) for row, key in enumerate(keys)})


@dataclass(frozen=True)
class Features:
    """The outputs of a frozen trunk for a data set."""

    trunk: FrozenTrunk
    train: tuple[Rows, ...]
    """Of the training images, one for every view."""
    validation: Rows | None
    """Of the validation images as they are; None where there are none."""


def compute_features(
    trunk: FrozenTrunk, train: Sequence[Sample], validation: Sequence[Sample], views: Sequence[View], *, title: str
) -> Features:
    """Features of the training images in all ``views`` and of the validation images, from the cache where possible.

    Raises StoreError where they do not fit on the disk.
    """
    rows = cached_rows(trunk, train, views, title=f"{title}, training")
    held_out = cached_rows(trunk, validation, ("plain",), title=f"{title}, validation")[0] if validation else None
    return Features(trunk, tuple(rows), held_out)


def mean_and_deviation(rows: Sequence[Rows]) -> tuple[Floats, Floats]:
    """Mean and standard deviation (width,) of every feature over all rows."""
    count, total, square = 0, np.zeros(()), np.zeros(())
    for some in rows:
        count += len(some)
        for start in range(0, len(some), 1024):
            part = some.take(np.arange(start, min(start + 1024, len(some)))).astype(np.float64)
            total, square = total + part.sum(0), square + np.square(part).sum(0)
    mean = total / count
    deviation = np.sqrt(np.maximum(square / count - np.square(mean), 0))
    return mean.astype(np.float32), deviation.astype(np.float32)


def cached_rows(trunk: FrozenTrunk, samples: Sequence[Sample], views: Sequence[View], *, title: str) -> list[Rows]:
    """For every view the rows of ``samples``; those that are missing are computed and cached."""
    root, limit = catseye_home() / "features" / trunk.key()[:32], cache_limit()
    with _in_use(root):
        stores = {view: FeatureStore(root / folder_of(view)) for view in views}
        missing = {v: list({s.sha256: s for s in samples if s.sha256 not in stores[v]}.values()) for v in views}
        total = sum(len(some) for some in missing.values())
        if total:
            _check_space(root, total * row_bytes(trunk))
            with images_bar(title, total) as advance:
                run = compiled(trunk.frozen_model())
                for view in views:
                    _compute(trunk, run, missing[view], view, stores[view], advance)
            _remove_least_recently_used(root, limit)
        return [stores[view].rows([s.sha256 for s in samples]) for view in views]


def row_bytes(trunk: FrozenTrunk) -> int:
    """Bytes that one image takes on disk."""
    return trunk.width * np.dtype(_dtype(trunk)).itemsize


def fits_on_disk(trunk: FrozenTrunk, images: int) -> bool:
    """Whether the rows of so many images fit on the cache's disk."""
    home = catseye_home()
    home.mkdir(parents=True, exist_ok=True)
    return images * row_bytes(trunk) + _KEEP_FREE < shutil.disk_usage(home).free


@contextmanager
def _in_use(folder: Path) -> Iterator[None]:
    """Keep other processes from removing the folder meanwhile."""
    with on_disk(folder, "The features"):
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # Some network file systems have no locks.
            fcntl.flock(handle, fcntl.LOCK_SH)
        yield
    finally:
        os.close(handle)


def _remove_least_recently_used(current: Path, limit: int) -> None:
    """Remove features of other networks until the cache takes at most ``limit`` bytes, and say so."""
    uses = sorted((*_use(folder), folder) for folder in current.parent.iterdir())
    total = before = sum(size for _, size, _ in uses)
    for _, size, folder in uses:
        if total > limit and folder != current and _removed(folder):
            total -= size
    told = f"CATSEYE_CACHE_GB is {limit / 1e9:g}"
    if total < before:
        removed = f"{(before - total) / 1e9:.2g} GB of cached features that were used least recently"
        console.print(f"Removed {removed}: {told}.", highlight=False)
    if total > limit:
        excess = f"Cached features take {total / 1e9:.2g} GB in {current.parent}"
        console.print(f"{excess}, although {told}: they are in use.", highlight=False)


def _use(folder: Path) -> tuple[float, int]:
    """Time of the last use, and bytes."""
    last, size = 0.0, 0
    for path in (folder, *folder.rglob("*")):
        with suppress(OSError):  # Another process may remove it meanwhile.
            facts = path.stat()
            last, size = max(last, facts.st_mtime), size + facts.st_size
    return last, size


def _removed(folder: Path) -> bool:
    """Remove the folder unless a process uses it."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)
            return True
        finally:
            os.close(handle)
    return False


def compiled(model: keras.Model) -> Callable[[Iterator[NDArray[np.uint8]]], Iterator[NDArray[np.float32]]]:
    """The Keras model with one output, compiled by OpenVINO: batches of images -> batches of results, in order."""
    openvino = load_openvino()
    height, width = model.input_shape[1:3]
    signature = tensorflow.TensorSpec((None, height, width, 3), tensorflow.uint8)
    forward = tensorflow.function(
        lambda images: model(images, training=False), input_signature=[signature], autograph=False
    )
    settings = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": "f32", "ENABLE_CPU_PINNING": False}
    with no_telemetry():
        network = openvino.compile_model(openvino.convert_model(forward.get_concrete_function()), "CPU", settings)
    # A first inference from two threads at once can deadlock, so the first one runs alone.
    network(np.zeros((1, height, width, 3), np.uint8))
    queue = openvino.AsyncInferQueue(network)

    def run(batches: Iterator[NDArray[np.uint8]]) -> Iterator[NDArray[np.float32]]:
        results: dict[int, NDArray[np.float32]] = {}
        queue.set_callback(lambda request, number: results.update({number: request.output_tensors[0].data.copy()}))
        sent = received = 0
        # While requests run, the next images are decoded; the queue takes no more than it has requests.
        for batch in batches:
            queue.start_async({0: batch}, sent)
            sent += 1
            while received in results:
                yield results.pop(received)
                received += 1
        queue.wait_all()
        yield from (results.pop(number) for number in range(received, sent))

    return run


def _compute(
    trunk: FrozenTrunk,
    run: Callable[[Iterator[NDArray[np.uint8]]], Iterator[NDArray[np.float32]]],
    samples: Sequence[Sample],
    view: View,
    store: FeatureStore,
    advance: Callable[[int, str], None],
) -> None:
    size, dtype = trunk.classifier.input_size, _dtype(trunk)
    step = max(1, _SHARD_BYTES // row_bytes(trunk))
    for start in range(0, len(samples), step):
        part = samples[start : start + step]
        groups = (part[i : i + _BATCH] for i in range(0, len(part), _BATCH))
        batches = (apply_view(load_batch(group, size), group, view) for group in groups)
        rows = np.empty((len(part), trunk.width), dtype)
        done = 0
        for result in run(batches):
            limit = np.finfo(dtype).max
            rows[done : done + len(result)] = np.clip(result, -limit, limit)
            done += len(result)
            advance(len(result), "")
        store.add([s.sha256 for s in part], rows)


def _dtype(trunk: FrozenTrunk) -> type[np.floating]:
    return np.float16 if trunk.width > _FLOAT16_FROM else np.float32


def _check_space(root: Path, wanted: int) -> None:
    free = shutil.disk_usage(root).free
    if wanted > free:
        with on_disk(root, "The features"):
            raise OSError(errno.ENOSPC, f"{wanted:,} bytes are needed and {free:,} are free")
