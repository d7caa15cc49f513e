"""A diverging color map: zero is black, positive values are warm, negative ones cold.

Feature maps and class activation share it, so that black always means zero. Lightness grows with the magnitude on both
sides, so that the pictures can be read in grey and by color-blind people. The warm half is matplotlib's ``inferno``
(CC0) interpolated from thirteen of its entries (largest difference from the original: 10 of 255); serving has no
matplotlib.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

WARM_ANCHORS: Final = (
    (0, 0, 4), (17, 10, 48), (50, 10, 94), (87, 16, 110), (120, 28, 109), (154, 40, 101), (188, 55, 84),
    (216, 76, 62), (237, 105, 37), (249, 140, 10), (252, 180, 24), (244, 223, 83), (252, 255, 164),
)  # fmt: skip
COLD_ANCHORS: Final = (
    (0, 0, 4), (4, 18, 46), (6, 36, 82), (8, 56, 116), (14, 80, 144), (26, 104, 166), (44, 128, 184),
    (70, 152, 198), (100, 175, 210), (134, 197, 220), (168, 216, 230), (204, 235, 242), (240, 252, 255),
)  # fmt: skip
CENTRE: Final = 255
"""Row of ``TABLE`` that stands for zero."""


def _half(anchors: tuple[tuple[int, int, int], ...]) -> NDArray[np.uint8]:
    """(256, 3) colours, linear between the anchors."""
    places = np.linspace(0, 255, len(anchors))
    channels = [np.interp(np.arange(256), places, column) for column in zip(*anchors, strict=True)]
    return np.stack(channels, axis=1).round().astype(np.uint8)


TABLE: Final[NDArray[np.uint8]] = np.concatenate([_half(COLD_ANCHORS)[:0:-1], _half(WARM_ANCHORS)])
"""(511, 3): row 0 is -limit, row 255 is zero, row 510 is +limit."""


def colour(values: NDArray[np.floating], limit: float) -> NDArray[np.uint8]:
    """Colours, shape ``values.shape + (3,)``, of values between -limit and +limit (clipped to them)."""
    if not limit > 0:
        return np.broadcast_to(TABLE[CENTRE], (*values.shape, 3)).copy()
    share = np.clip(values / limit, -1.0, 1.0)
    rows: NDArray[np.intp] = np.rint(share * CENTRE).astype(np.intp) + CENTRE
    return TABLE[rows]


def legend(width: int, height: int, signed: bool) -> NDArray[np.uint8]:
    """A horizontal bar (height, width, 3) over the whole scale, or over its positive half."""
    values = np.linspace(-1.0 if signed else 0.0, 1.0, width)
    return np.repeat(colour(values, 1.0)[None], height, axis=0)
