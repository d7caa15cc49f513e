"""Test images moved a little: the lecture's first argument, that a network may be tied to where a pattern stands."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
SHARES = (0.0, 0.05, 0.10, 0.15, 0.20, 0.25)
"""Of the side: how far images are moved."""
DIRECTIONS = ((0, 1), (1, 0), (0, -1), (-1, 0))
"""(down, right) for one step: right, down, left, up."""


def shifted(images: Pixels, share: float, first: int = 0) -> Pixels:
    """Images (batch, height, width, 3) moved by ``share`` of the side; what leaves one edge returns at the other.

    As in the lecture's drawing of pooling, so that nothing is lost and nothing invented: the same pattern only
    stands elsewhere. Image ``first + i`` of a data set moves in the direction ``(first + i) % 4``, the same for
    every network.
    """
    moved = np.empty_like(images)
    for i, image in enumerate(images):
        down, right = DIRECTIONS[(first + i) % len(DIRECTIONS)]
        steps = (round(down * share * image.shape[0]), round(right * share * image.shape[1]))
        moved[i] = np.roll(image, steps, axis=(0, 1))
    return moved


def right_when_shifted(
    answer: Callable[[Pixels], NDArray[np.float32]],
    images: Callable[[int, int], Pixels],
    truth: NDArray[np.int64],
    shares: Sequence[float] = SHARES,
    *,
    batch: int = 16,
    advance: Callable[[int, str], None] = lambda images, words: None,
) -> NDArray[np.bool_]:
    """(shares, images): whether ``answer`` (images -> logits) is right about each image at each shift.

    ``images(start, stop)`` gives the pixels of a stretch of the data set, decoded once for all shifts.
    """
    right = np.zeros((len(shares), len(truth)), bool)
    for start in range(0, len(truth), batch):
        stop = min(start + batch, len(truth))
        pixels = images(start, stop)
        for row, share in zip(right, shares, strict=True):
            row[start:stop] = answer(shifted(pixels, share, start)).argmax(1) == truth[start:stop]
        advance(stop - start, "")
    return right
