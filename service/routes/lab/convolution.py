"""Convolution, padding and pooling of plain arrays, in float64.

``convolve`` multiplies the kernel with each window as it is and sums (cross-correlation), as every deep-learning
library does. Written with numpy alone; tests compare it with SciPy and TensorFlow.

Images are ``(height, width, channels)``, kernels ``(height, width, channels, kernels)`` in Keras's order; windows and
strides are ``(down, right)``, at least 1.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from models.errors import BadParameter

Padding = Literal["valid", "same"]
PoolKind = Literal["max", "average"]
Floats = NDArray[np.float64]
Pair = tuple[int, int]


@dataclass(frozen=True)
class Step:
    """How one value of the feature map is computed."""

    row: int
    column: int
    """Place in the feature map."""
    kernel: int
    """Which kernel, counted from 0."""
    top: int
    left: int
    """Corner of the window in the image; negative where it begins in the padding."""
    window: Floats
    """``(height, width, channels)``."""
    products: Floats
    """Window times kernel, of the same shape; their sum is the value."""


def convolve(image: Floats, kernels: Floats, stride: Pair = (1, 1), padding: Padding = "valid") -> Floats:
    """The feature maps ``(rows, columns, kernels)``.

    Raises ``BadParameter`` where the kernels are larger than the image or have another number of channels.
    """
    if kernels.shape[2] != image.shape[2]:
        raise BadParameter(
            f"The kernel has {kernels.shape[2]} channel(s) and the image {image.shape[2]}. "
            "A kernel needs as many channels as the image."
        )
    windows = _windows(image, _size(kernels), stride, padding, fill=0.0)
    return cast(Floats, np.einsum("rckij,ijkn->rcn", windows, kernels, optimize=True))


def steps(image: Floats, kernels: Floats, stride: Pair = (1, 1), padding: Padding = "valid") -> Iterator[Step]:
    """How ``convolve`` computes each value, kernel by kernel, row by row."""
    windows = _windows(image, _size(kernels), stride, padding, fill=0.0)
    (top, _), (left, _) = pad_widths(image.shape, _size(kernels), stride, padding)
    for number in range(kernels.shape[3]):
        for row, column in np.ndindex(windows.shape[:2]):
            window = np.moveaxis(windows[row, column], 0, -1)
            yield Step(
                row=row,
                column=column,
                kernel=number,
                top=row * stride[0] - top,
                left=column * stride[1] - left,
                window=window,
                products=window * kernels[:, :, :, number],
            )


def pool(image: Floats, size: Pair, stride: Pair, kind: PoolKind = "max", padding: Padding = "valid") -> Floats:
    """One value for each window and channel: the largest (``max``) or the mean (``average``).

    Cells that padding adds count neither for the largest nor for the mean, as in TensorFlow.
    """
    axes = (3, 4)
    if kind == "max":
        return cast(Floats, _windows(image, size, stride, padding, fill=-np.inf).max(axis=axes))
    sums = _windows(image, size, stride, padding, fill=0.0).sum(axis=axes)
    inside = _windows(np.ones_like(image), size, stride, padding, fill=0.0).sum(axis=axes)
    return cast(Floats, sums / inside)


def pad_widths(shape: tuple[int, ...], window: Pair, stride: Pair, padding: Padding) -> tuple[Pair, Pair]:
    """((top, bottom), (left, right)): the cells that ``padding`` adds to an image of that shape.

    ``same`` is TensorFlow's arithmetic: the output has ``ceil(length / stride)`` cells, and where the
    padding is odd the larger part goes to the bottom and the right.
    """
    if padding == "valid":
        return (0, 0), (0, 0)
    return _same(shape[0], window[0], stride[0]), _same(shape[1], window[1], stride[1])


def output_shape(shape: tuple[int, ...], window: Pair, stride: Pair, padding: Padding) -> Pair:
    """(rows, columns) of the feature map that a window makes of an image of that shape."""
    edges = pad_widths(shape, window, stride, padding)
    rows, columns = (
        (length + sum(edge) - size) // step + 1
        for length, edge, size, step in zip(shape, edges, window, stride, strict=False)
    )
    if rows < 1 or columns < 1:
        raise BadParameter(
            f"The window of {window[0]}x{window[1]} is larger than the image of {shape[0]}x{shape[1]}. "
            "Use a smaller window or padding 'same'."
        )
    return rows, columns


def _windows(image: Floats, window: Pair, stride: Pair, padding: Padding, fill: float) -> Floats:
    """Views of every window: ``(rows, columns, channels, window height, window width)``."""
    output_shape(image.shape, window, stride, padding)
    edges = pad_widths(image.shape, window, stride, padding)
    padded = np.pad(image, (*edges, (0, 0)), constant_values=fill)
    return sliding_window_view(padded, window, axis=(0, 1))[:: stride[0], :: stride[1]]


def _same(length: int, size: int, step: int) -> Pair:
    cells = -(-length // step)
    missing = max((cells - 1) * step + size - length, 0)
    return missing // 2, missing - missing // 2


def _size(kernels: Floats) -> Pair:
    return kernels.shape[0], kernels.shape[1]
