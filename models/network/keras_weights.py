"""Reads a backbone's weights from a file of Keras 2 or 3, without running any of it.

Only arrays are read, with h5py: neither pickles nor the network described in the file. Known forms::

    legacy .h5       groups by layer name, flat or with the backbone nested in one group
    .weights.h5      groups by kind and number (conv2d, conv2d_1, ...), flat or nested
    .keras           a zip that holds a .weights.h5
"""

import io
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import h5py
import keras
import numpy as np

from models.errors import WeightsUnavailable
from models.network.classifier import Classifier, split_number

_KERAS_MEMBER = "model.weights.h5"
_MAX_DEPTH = 4
"""Levels of nested networks that are read."""
_BROKEN = (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError, zipfile.BadZipFile)
"""What h5py raises for a damaged file or one of another type."""


Arrays = tuple[h5py.Dataset, ...]
"""Of one layer, unread, in Keras's order."""
Saved = dict[str, Arrays]
"""The layers with weights of one network in a file, in order."""
Pairs = list[tuple[keras.layers.Layer, Arrays]]


class MisfitError(Exception):
    """The layers of a file are not those of the network, after ``matched`` that are."""

    def __init__(self, matched: int, what: str) -> None:
        super().__init__(what)
        self.matched, self.what = matched, what


def load_file(classifier: Classifier, path: Path) -> None:
    """Give the backbone the weights in ``path``; the head stays as it is. All layers change, or none.

    Raises WeightsUnavailable where the file cannot be read, or names the first layer that does not fit.
    """
    with _opened(path) as root:
        best = MisfitError(-1, "it holds no layers with weights")
        for saved, pair in _networks(root):
            for layers in _wanted(classifier):
                try:
                    pairs = pair(layers, saved)
                except MisfitError as misfit:
                    best = misfit if misfit.matched > best.matched else best
                else:
                    _assign(pairs)
                    return
    raise WeightsUnavailable(
        f"{path.name} does not fit {classifier.backbone.title}: {best.what}. "
        f"Give a file of a {classifier.backbone.title} made by Keras, or choose another backbone."
    )


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    try:
        with h5py.File(_hdf5(path), "r") as file:
            yield file
    except _BROKEN as error:
        raise WeightsUnavailable(
            f"{path.name} is no file of Keras weights, or a broken one. Give a .keras, .weights.h5 or .h5 file."
        ) from error


def _hdf5(path: Path) -> Path | io.BytesIO:
    if not zipfile.is_zipfile(path):
        return path
    with zipfile.ZipFile(path) as archive:
        return io.BytesIO(archive.read(_KERAS_MEMBER))


def _networks(root: h5py.Group) -> Iterator[tuple[Saved, Callable[[Sequence[keras.layers.Layer], Saved], Pairs]]]:
    """Every network in the file, nested ones first, and how its layers are matched."""
    if "layers" in root:
        yield from ((saved, _pair_by_kind) for saved in _modern(root, _MAX_DEPTH))
    legacy = _child(root, "model_weights") if "model_weights" in root else root
    if _names(legacy, "layer_names"):
        yield from ((saved, _pair_by_name) for saved in _legacy(legacy))


def _modern(group: h5py.Group, depth: int) -> Iterator[Saved]:
    layers = _child(group, "layers")
    found: Saved = {}
    for name, child in ((name, _child(layers, name)) for name in layers):
        if "layers" in child and depth:
            yield from _modern(child, depth - 1)
        arrays = _child(child, "vars") if "vars" in child else {}
        if len(arrays):
            found[name] = tuple(_child(arrays, key) for key in sorted(arrays, key=int))
    yield found


def _legacy(group: h5py.Group) -> Iterator[Saved]:
    found: Saved = {}
    for name in _names(group, "layer_names"):
        own = _child(group, name)
        weights = _names(own, "weight_names")
        if weights:
            found[name] = tuple(_child(own, weight) for weight in weights)
        # A nested backbone: the weights of all its layers in one list, block_1_expand/kernel and so on.
        inner: Saved = {}
        for weight in weights:
            layer = weight.rpartition("/")[0].rpartition("/")[2]
            inner[layer] = (*inner.get(layer, ()), _child(own, weight))
        if len(inner) > 1:
            yield inner
    yield found


def _child(group: h5py.Group, path: str) -> h5py.Group | h5py.Dataset:
    """The object at ``path`` in this file; a link could read another file of this machine."""
    for name in path.split("/"):
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise KeyError(path)
        group = group[name]
    if isinstance(group, h5py.Dataset) and (group.external or group.is_virtual):
        raise KeyError(path)
    return group


def _names(group: h5py.Group, name: str) -> list[str]:
    """A list of names among a group's attributes; Keras splits long ones into ``name0``, ``name1``, ..."""
    keys = [name, *(f"{name}{number}" for number in range(len(group.attrs)))]
    found = [value for key in keys if key in group.attrs for value in group.attrs[key]]
    return [value.decode() if isinstance(value, bytes) else str(value) for value in found]


def _wanted(classifier: Classifier) -> list[list[keras.layers.Layer]]:
    """The backbone's layers with weights; a file of catseye's own may hold preprocessing before them."""
    base = [layer for layer in classifier.backbone_layers() if layer.weights]
    layers = classifier.model.layers
    before = [layer for layer in layers if layer.name.startswith("preprocess_") and layer.weights]
    return [base, [*before, *base]] if before else [base]


def _pair_by_kind(layers: Sequence[keras.layers.Layer], saved: Saved) -> Pairs:
    """Match the n-th layer of a kind with the n-th of that kind in the file: ``conv2d``, ``conv2d_1``, ..."""
    kinds: dict[str, list[tuple[int, Arrays]]] = {}
    for name, arrays in saved.items():
        kind, number = split_number(name)
        kinds.setdefault(kind.replace("_", ""), []).append((number, arrays))
    queues = {kind: iter(sorted(some, key=lambda item: item[0])) for kind, some in kinds.items()}
    pairs: Pairs = []
    for layer in layers:
        _, found = next(queues.get(type(layer).__name__.lower(), iter(())), (0, None))
        pairs.append((layer, _fitting(layer, found, len(pairs))))
    return pairs


def _pair_by_name(layers: Sequence[keras.layers.Layer], saved: Saved) -> Pairs:
    """Match by name where the file has every name, otherwise by order, as Keras does."""
    names = [layer.name for layer in layers]
    by_name = saved.keys() >= set(names)
    rest = iter(saved.values())
    pairs = [
        (layer, _fitting(layer, saved[layer.name] if by_name else next(rest, None), number))
        for number, layer in enumerate(layers)
    ]
    if by_name:
        _refuse_extra_layers(list(saved), set(names))
    return pairs


def _refuse_extra_layers(saved: list[str], names: set[str]) -> None:
    """Refuse a deeper network of the same family, which has extra layers between those that fit."""
    matched = 0
    for name in saved:
        if name in names:
            matched += 1
        elif 0 < matched < len(names):
            raise MisfitError(matched, f"it has a layer {name!r} too many")


def _fitting(layer: keras.layers.Layer, arrays: Arrays | None, matched: int) -> Arrays:
    if arrays is None:
        raise MisfitError(matched, f"layer {layer.name!r} is missing, after {matched} that fit")
    wants = [tuple(weight.shape) for weight in layer.weights]
    holds = [tuple(array.shape) for array in arrays]
    if wants != holds:
        raise MisfitError(matched, f"layer {layer.name!r} has shapes {_shapes(wants)}, the file {_shapes(holds)}")
    return arrays


def _shapes(shapes: Sequence[tuple[int, ...]]) -> str:
    """At most five shapes, since a nested network may be listed as one layer."""
    some = " ".join("x".join(map(str, shape)) or "scalar" for shape in shapes[:5])
    return f"{some} ..." if len(shapes) > 5 else some or "none"


def _assign(pairs: Pairs) -> None:
    # All is read before anything is assigned, so that a truncated file changes nothing.
    values = [[np.asarray(array, np.float32) for array in arrays] for _, arrays in pairs]
    for (layer, _), arrays in zip(pairs, values, strict=True):
        for weight, array in zip(layer.weights, arrays, strict=True):
            weight.assign(array)
        if isinstance(layer, keras.layers.Normalization):
            # It computes with constants that it derives from its weights.
            layer.finalize_state()
