"""Batches for Keras: shuffled by seed and epoch, so that a resumed run sees what the killed one would have seen."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import keras
import numpy as np
from numpy.typing import NDArray

from training.data.dataset import Sample, load_batch
from training.features.cache import Rows
from training.features.cached_augmentation import View, mirrored
from training.features.frozen_trunk import Cut

Floats = NDArray[np.float32]
Positions = NDArray[np.int64]
Pixels = NDArray[np.uint8]
Augment = Callable[[Pixels, np.random.Generator], Pixels]
Inputs = tuple[NDArray[Any], ...]


class Source(Protocol):
    """What the network eats, by position."""

    views: int
    """In how many ways each image can be shown."""

    def __len__(self) -> int: ...

    def take(self, positions: Positions, views: Positions, rng: np.random.Generator) -> Inputs:
        """The inputs for the images at ``positions``, each in its view."""


class ActivationSource:
    """Kept activations; one ``Rows`` for every view."""

    def __init__(self, cut: Cut, rows: Sequence[Rows]) -> None:
        self._cut, self._rows = cut, rows
        self.views = len(rows)

    def __len__(self) -> int:
        return len(self._rows[0])

    def take(self, positions: Positions, views: Positions, rng: np.random.Generator) -> Inputs:
        """Activations, one array for every tensor at the cut."""
        rows = np.empty((len(positions), self._cut.width), np.float32)
        for view in range(self.views):
            here = views == view
            if here.any():
                rows[here] = self._rows[view].take(positions[here])
        return tuple(self._cut.unpack(rows))


class PixelSource:
    """Images decoded anew in every epoch, mirrored and augmented: for training through the whole network."""

    def __init__(
        self,
        samples: Sequence[Sample],
        size: tuple[int, int],
        views: Sequence[View] = ("plain",),
        augment: Augment | None = None,
    ) -> None:
        self._samples, self._size, self._views, self._augment = samples, size, views, augment
        self.views = len(views)

    def __len__(self) -> int:
        return len(self._samples)

    def take(self, positions: Positions, views: Positions, rng: np.random.Generator) -> Inputs:
        """Pixels (batch, height, width, 3), uint8."""
        images = load_batch([self._samples[i] for i in positions], self._size)
        for view, name in enumerate(self._views):
            here = views == view
            if here.any():
                images[here] = mirrored(images[here], name)
        return (self._augment(images, rng) if self._augment else images,)


class Batches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras has no types
    """(inputs, targets, weights) in batches.

    Without a seed: every image once, plain, in order. With one, every epoch has an order of its own and
    shows each image in a view drawn anew; with ``every_view`` it shows all views of every image.
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
        self.epoch = 0

    @property
    def images(self) -> int:
        """Images that one epoch shows."""
        return len(self.source) * (self.source.views if self.every_view else 1)

    def __len__(self) -> int:
        return -(-self.images // self.batch_size)

    def __getitem__(self, index: int) -> tuple[Inputs | NDArray[Any], Floats, Floats]:
        positions, views, rng = self._shown(index)
        return self._feed(positions, views, rng, self.weights[positions])

    def size(self, index: int) -> int:
        """Images in that batch."""
        return min(self.batch_size, self.images - index * self.batch_size)

    def share(self, index: int, which: int, shares: int) -> tuple[Inputs | NDArray[Any], Floats, Floats]:
        """One of equally large shares of a batch; images of weight 0 fill them up."""
        positions, views, _ = self._shown(index)
        length = -(-len(positions) // shares)
        places = np.arange(which * length, (which + 1) * length)
        real, places = places < len(positions), np.minimum(places, len(positions) - 1)
        mine = positions[places]
        # The draws for augmentation are each share's own, or images of two shares would vary alike.
        rng = np.random.default_rng((self.seed or 0, self.epoch, index, which))
        return self._feed(mine, views[places], rng, self.weights[mine] * real)

    def on_epoch_end(self) -> None:
        """Keras calls this between epochs."""
        self.epoch += 1

    def _shown(self, index: int) -> tuple[Positions, Positions, np.random.Generator]:
        shown = self._order()[index * self.batch_size : (index + 1) * self.batch_size]
        positions, rng = shown % len(self.source), np.random.default_rng((self.seed or 0, self.epoch, index))
        views = shown // len(self.source)
        if self.seed is not None and not self.every_view:
            views = rng.integers(0, self.source.views, len(shown))
        return positions, views, rng

    def _feed(
        self, positions: Positions, views: Positions, rng: np.random.Generator, weights: Floats
    ) -> tuple[Inputs | NDArray[Any], Floats, Floats]:
        inputs = self.source.take(positions, views, rng)
        return inputs if len(inputs) > 1 else inputs[0], self.targets[positions], weights

    def _order(self) -> Positions:
        if self.seed is None:
            return np.arange(self.images, dtype=np.int64)
        return np.random.default_rng((self.seed, self.epoch)).permutation(self.images)
