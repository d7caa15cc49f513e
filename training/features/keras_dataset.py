"""Batches for Keras, shuffled by seed and epoch, so that a resumed run sees what an uninterrupted one would see."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import keras
import numpy as np
from numpy.typing import NDArray

from training.data.dataset import Sample, labels_of, load_batch, weights_of
from training.features.cache import Rows
from training.features.cached_augmentation import Flip, flipped
from training.features.frozen_trunk import FrozenTrunk

Floats = NDArray[np.float32]
Positions = NDArray[np.int64]
Pixels = NDArray[np.uint8]
Augment = Callable[[Pixels, np.random.Generator], Pixels]
Inputs = tuple[NDArray[Any], ...]


class Source(Protocol):
    """Inputs of the network, by position."""

    views: int
    """Number of views of each image."""

    def __len__(self) -> int: ...

    def take(self, positions: Positions, views: Positions, rng: np.random.Generator) -> Inputs:
        """The inputs for the images at ``positions``, each in its view."""


class FeatureSource:
    """Cached features; one ``Rows`` for every view."""

    def __init__(self, trunk: FrozenTrunk, rows: Sequence[Rows]) -> None:
        self._trunk, self._rows = trunk, rows
        self.views = len(rows)

    def __len__(self) -> int:
        return len(self._rows[0])

    def take(self, positions: Positions, views: Positions, rng: np.random.Generator) -> Inputs:
        """Features, one array for every output of the trunk."""
        rows = np.empty((len(positions), self._trunk.width), np.float32)
        for view in range(self.views):
            here = views == view
            if here.any():
                rows[here] = self._rows[view].take(positions[here])
        return tuple(self._trunk.unpack(rows))


class PixelSource:
    """Images decoded, flipped and augmented anew in every epoch: for training the whole network."""

    def __init__(
        self,
        samples: Sequence[Sample],
        size: tuple[int, int],
        flips: Sequence[Flip] = ("plain",),
        augment: Augment | None = None,
    ) -> None:
        self._samples, self._size, self._flips, self._augment = samples, size, flips, augment
        self.views = len(flips)

    def __len__(self) -> int:
        return len(self._samples)

    def take(self, positions: Positions, views: Positions, rng: np.random.Generator) -> Inputs:
        """Pixels (batch, height, width, 3), uint8."""
        images = load_batch([self._samples[i] for i in positions], self._size)
        for view, flip in enumerate(self._flips):
            here = views == view
            if here.any():
                images[here] = flipped(images[here], flip)
        return (self._augment(images, rng) if self._augment else images,)


class Batches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras has no types
    """(inputs, targets, weights) in batches.

    Without a seed: every image once, plain, in order. With one, every epoch has its own order and shows each image in
    a view drawn at random; with ``every_view`` it shows all views of every image.

    For several ``replicas`` each batch is filled up with images of weight 0, so that all have equally large parts. The
    other weights grow by as much, so that the mean over the larger batch is the same.
    """

    def __init__(
        self,
        source: Source,
        targets: Floats,
        weights: Floats,
        *,
        batch_size: int,
        seed: int | None = None,
        every_view: bool = False,
    ) -> None:
        super().__init__()
        self.source, self.targets, self.weights = source, targets, weights
        self.batch_size, self.seed, self.every_view = batch_size, seed, every_view
        self.epoch, self.replicas = 0, 1
        self._order: tuple[int, Positions] | None = None
        """The last epoch and its order."""

    @property
    def images(self) -> int:
        """Images that one epoch shows."""
        return len(self.source) * (self.source.views if self.every_view else 1)

    def __len__(self) -> int:
        return -(-self.images // self.batch_size)

    def __getitem__(self, index: int) -> tuple[Inputs | NDArray[Any], Floats, Floats]:
        inputs, targets, weights = self._part(index, 0, 1)
        return inputs, targets, weights * np.float32(self._growth(index))

    def size(self, index: int) -> int:
        """Images in that batch."""
        return min(self.batch_size, self.images - index * self.batch_size)

    def part(self, index: int, replica: int) -> tuple[Inputs | NDArray[Any], Floats, Floats]:
        """One replica's part of a batch, with the images' own weights."""
        return self._part(index, replica, self.replicas)

    def on_epoch_end(self) -> None:
        """Keras calls this between epochs."""
        self.epoch += 1

    def _part(self, index: int, number: int, parts: int) -> tuple[Inputs | NDArray[Any], Floats, Floats]:
        shown = self._epoch_order()[index * self.batch_size : (index + 1) * self.batch_size]
        rng = np.random.default_rng((self.seed or 0, self.epoch, index))
        positions, views = shown % len(self.source), shown // len(self.source)
        if self.seed is not None and not self.every_view:
            views = rng.integers(0, self.source.views, len(shown))
        if parts > 1:  # Otherwise the augmentation of all parts would be the same.
            rng = np.random.default_rng((self.seed or 0, self.epoch, index, number))
        length = self._padded(len(shown)) // parts
        places = np.arange(number * length, (number + 1) * length)
        real, places = places < len(shown), np.minimum(places, len(shown) - 1)
        positions = positions[places]
        inputs = self.source.take(positions, views[places], rng)
        return inputs if len(inputs) > 1 else inputs[0], self.targets[positions], self.weights[positions] * real

    def _epoch_order(self) -> Positions:
        if self._order is None or self._order[0] != self.epoch:
            order = np.arange(self.images, dtype=np.int64)
            if self.seed is not None:
                order = np.random.default_rng((self.seed, self.epoch)).permutation(self.images)
            self._order = self.epoch, order
        return self._order[1]

    def _padded(self, images: int) -> int:
        return -(-images // self.replicas) * self.replicas

    def _growth(self, index: int) -> float:
        """Padded size over size: of the batch where gradients are taken, of the whole set where figures are."""
        if self.seed is not None:
            return self._padded(self.size(index)) / self.size(index)
        full, rest = divmod(self.images, self.batch_size)
        return (full * self._padded(self.batch_size) + self._padded(rest)) / self.images


def sample_weights(samples: Sequence[Sample], classes: int, *, balanced: bool) -> Floats:
    """(samples,): each sample's own weight, scaled to mean 1; ``balanced`` gives every class the same sum."""
    weights = weights_of(samples).astype(np.float64)
    if balanced:
        labels = labels_of(samples)
        sums = np.bincount(labels, weights=weights, minlength=classes)
        weights = weights / np.maximum(sums, 1e-12)[labels]
    scaled: Floats = (weights / weights.mean()).astype(np.float32)
    return scaled
