"""Activations at a cut, computed once through OpenVINO and kept on disk by content.

A row belongs to an image's SHA-256, a view of it (plain, mirrored or varied) and the hash of everything below the
cut, so that a changed image, size or weight can never meet a stale row. Rows lie in shards that are written
whole or not at all; they are read through the page cache, so data sets larger than memory stream.
"""

import errno
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import keras
import numpy as np
import tensorflow
from numpy.typing import NDArray

from models.environment import load_openvino, no_telemetry
from models.files import disk_errors, replace_whole, write_whole
from training.config import catseye_home
from training.data.dataset import Sample, load_batch
from training.features.cached_augmentation import VIEWS, AnyView, View, folder_of, mirrored, shown
from training.features.frozen_trunk import Cut
from training.report.console import images_bar

__all__ = ["VIEWS", "FeatureStore", "Rows", "View", "cached_rows", "compiled", "mirrored", "room_for", "row_bytes"]

_BATCH = 16
_SHARD_BYTES = 64_000_000
_FLOAT16_FROM = 8_000
"""Rows wider than this are kept in half precision: feature maps, not embeddings."""
_KEEP_FREE = 1_000_000_000
"""Bytes that the cache leaves free on its disk."""


class Rows:
    """Rows of many shards in a wanted order, read when they are asked for."""

    def __init__(self, shards: Sequence[NDArray[np.generic]], places: NDArray[np.int64]) -> None:
        self._shards, self._places = shards, places

    def __len__(self) -> int:
        return len(self._places)

    def take(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """The rows at ``positions``, float32 (len(positions), width)."""
        picked = [self._shards[shard][row] for shard, row in self._places[positions]]
        return np.stack(picked).astype(np.float32)

    def all(self) -> NDArray[np.float32]:
        """Every row; for embeddings, which fit into memory."""
        return self.take(np.arange(len(self), dtype=np.int64))


class FeatureStore:
    """The rows of one network and view in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._shards: list[NDArray[np.generic]] = []
        self._index: dict[str, tuple[int, int]] = {}
        for names in sorted(folder.glob("*.txt")):
            self._open(names)

    def __contains__(self, key: str) -> bool:
        return key in self._index

    def add(self, keys: Sequence[str], rows: NDArray[np.floating]) -> None:
        """Keep rows (len(keys), width); StoreError where the disk is full."""
        name = uuid.uuid4().hex
        names = self.folder / f"{name}.txt"
        with _on_disk(self.folder):
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
            return  # A shard that cannot be read is as good as none: its rows are computed again.
        if len(shard) == len(keys):
            self._shards.append(shard)
            self._index.update({key: (len(self._shards) - 1, row) for row, key in enumerate(keys)})


def cached_rows(cut: Cut, samples: Sequence[Sample], views: Sequence[AnyView], *, title: str) -> list[Rows]:
    """For every view the rows of ``samples`` at the cut; what is missing is computed and kept."""
    root = catseye_home() / "features" / cut.key()[:32]
    stores = {view: FeatureStore(root / folder_of(view)) for view in views}
    missing = {view: list({s.sha256: s for s in samples if s.sha256 not in stores[view]}.values()) for view in views}
    total = sum(len(some) for some in missing.values())
    if total:
        _check_space(root, total * row_bytes(cut))
        with images_bar(title, total) as advance:
            run = compiled(cut.lower())
            for view in views:
                _compute(cut, run, missing[view], view, stores[view], advance)
    return [stores[view].rows([s.sha256 for s in samples]) for view in views]


def row_bytes(cut: Cut) -> int:
    """Bytes that one image takes on disk."""
    return cut.width * np.dtype(_dtype(cut)).itemsize


def room_for(cut: Cut, images: int) -> bool:
    """Whether the rows of so many images fit on the cache's disk."""
    home = catseye_home()
    home.mkdir(parents=True, exist_ok=True)
    return images * row_bytes(cut) + _KEEP_FREE < shutil.disk_usage(home).free


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
        given = told = 0
        # While requests run, the next images are decoded; the queue takes no more than it has requests.
        for batch in batches:
            queue.start_async({0: batch}, given)
            given += 1
            while told in results:
                yield results.pop(told)
                told += 1
        queue.wait_all()
        yield from (results.pop(number) for number in range(told, given))

    return run


def _compute(
    cut: Cut,
    run: Callable[[Iterator[NDArray[np.uint8]]], Iterator[NDArray[np.float32]]],
    samples: Sequence[Sample],
    view: AnyView,
    store: FeatureStore,
    advance: Callable[[int, str], None],
) -> None:
    size, dtype = cut.classifier.input_size, _dtype(cut)
    step = max(1, _SHARD_BYTES // row_bytes(cut))
    for start in range(0, len(samples), step):
        part = samples[start : start + step]
        groups = (part[i : i + _BATCH] for i in range(0, len(part), _BATCH))
        batches = (shown(load_batch(group, size), group, view) for group in groups)
        rows = np.empty((len(part), cut.width), dtype)
        done = 0
        for result in run(batches):
            limit = np.finfo(dtype).max
            rows[done : done + len(result)] = np.clip(result, -limit, limit)
            done += len(result)
            advance(len(result), "")
        store.add([s.sha256 for s in part], rows)


def _dtype(cut: Cut) -> type[np.floating]:
    return np.float16 if cut.width > _FLOAT16_FROM else np.float32


def _check_space(root: Path, wanted: int) -> None:
    root.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(root).free
    with _on_disk(root):
        if wanted > free:
            raise OSError(errno.ENOSPC, f"{wanted:,} bytes are needed and {free:,} are free")


def _on_disk(folder: Path) -> AbstractContextManager[None]:
    advice = "Free some space, or set CATSEYE_HOME to another disk."
    return disk_errors(f"Features could not be kept in {folder}", advice)
