"""The lecture's operations on plain arrays: slide a kernel, pad the edge, stride, pool.

``convolve`` multiplies the kernel with each window as it stands and sums (cross-correlation), as every
deep-learning library does. Written with numpy alone and held to TensorFlow's answers by tests.

Shapes: images ``(height, width)`` or ``(height, width, channels)``; kernels ``(kh, kw)``,
``(kh, kw, channels)`` or ``(kh, kw, channels, kernels)``, the last being Keras's own order.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, cast, get_args

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

from models.errors import BadParameter

Padding = Literal["valid", "same"]
PoolKind = Literal["max", "average"]
Floats = NDArray[np.float64]

_LARGEST = 1e100
"""Beyond this a product of two values would overflow a float64; no picture needs it."""


@dataclass(frozen=True)
class Step:
    """How one value of the feature map came about."""

    row: int
    column: int
    """Place in the feature map."""
    kernel: int
    """Which kernel, counted from 0."""
    top: int
    left: int
    """Corner of the window in the image; negative where it begins in the padding."""
    window: Floats
    """``(kh, kw)``, or ``(kh, kw, channels)`` for an image with channels."""
    products: Floats
    """Window times kernel, of the same shape."""
    bias: float
    total: float
    """Sum of the products plus the bias: the value in the feature map."""


def convolve(
    image: ArrayLike,
    kernel: ArrayLike,
    stride: int | tuple[int, int] = 1,
    padding: Padding = "valid",
    bias: ArrayLike = 0.0,
) -> Floats:
    """The feature map of an image under a kernel, in float64.

    ``stride`` is one number or (down, right); ``bias`` one number, or one for each kernel. Answers
    ``(rows, columns)`` for a single kernel and ``(rows, columns, kernels)`` for a four-dimensional one.
    Raises ``BadParameter`` when shapes, stride, padding or values do not fit.
    """
    pixels, weights, single = _image_and_kernels(image, kernel)
    offsets = _bias(bias, weights.shape[3])
    windows = _windows(pixels, weights.shape[:2], _stride(stride), padding, fill=0.0)
    maps = np.einsum("rckij,ijkn->rcn", windows, weights, optimize=True) + offsets
    return cast(Floats, maps[:, :, 0] if single else maps)


def pool(
    image: ArrayLike,
    size: int | tuple[int, int] = 2,
    stride: int | tuple[int, int] | None = None,
    kind: PoolKind = "max",
    padding: Padding = "valid",
) -> Floats:
    """One value for each window: its largest (``max``) or its mean (``average``), channel by channel.

    ``stride`` defaults to the window's size. Cells that padding adds count neither for the largest nor
    for the mean, as in TensorFlow. Answers an array of as many dimensions as the image.
    """
    if kind not in get_args(PoolKind):
        raise BadParameter(f"Pooling {kind!r} is unknown. Use 'max' or 'average'.")
    pixels, flat = _image(image)
    window = _pair(size, "Pooling size")
    steps_ = window if stride is None else _stride(stride)
    axes = (3, 4)
    if kind == "max":
        result = _windows(pixels, window, steps_, padding, fill=-np.inf).max(axis=axes)
    else:
        sums = _windows(pixels, window, steps_, padding, fill=0.0).sum(axis=axes)
        inside = _windows(np.ones_like(pixels), window, steps_, padding, fill=0.0).sum(axis=axes)
        result = sums / inside
    return cast(Floats, result[:, :, 0] if flat else result)


def pad(
    image: ArrayLike,
    window: int | tuple[int, int],
    stride: int | tuple[int, int] = 1,
    padding: Padding = "same",
    fill: float = 0.0,
) -> Floats:
    """The image with the edge that ``padding`` asks for; ``valid`` adds none.

    ``same`` is TensorFlow's arithmetic: the output has ``ceil(length / stride)`` cells, and where the
    padding is odd the larger part goes to the bottom and the right.
    """
    pixels, flat = _image(image)
    (top, bottom), (left, right) = pad_widths(pixels.shape[:2], window, stride, padding)
    padded = np.pad(pixels, ((top, bottom), (left, right), (0, 0)), constant_values=fill)
    return padded[:, :, 0] if flat else padded


def pad_widths(
    shape: tuple[int, ...], window: int | tuple[int, int], stride: int | tuple[int, int], padding: Padding
) -> tuple[tuple[int, int], tuple[int, int]]:
    """((top, bottom), (left, right)): the cells that ``padding`` adds to an image of that shape."""
    if padding not in get_args(Padding):
        raise BadParameter(f"Padding {padding!r} is unknown. Use 'valid' (none) or 'same' (zeros).")
    sizes, steps_ = _pair(window, "Window"), _stride(stride)
    if padding == "valid":
        return (0, 0), (0, 0)
    widths = [_same(length, size, step) for length, size, step in zip(shape, sizes, steps_, strict=False)]
    return widths[0], widths[1]


def output_shape(
    shape: tuple[int, ...], window: int | tuple[int, int], stride: int | tuple[int, int], padding: Padding
) -> tuple[int, int]:
    """(rows, columns) of the feature map that a window makes of an image of that shape."""
    sizes, steps_ = _pair(window, "Window"), _stride(stride)
    edges = pad_widths(shape, sizes, steps_, padding)
    rows, columns = (
        (length + sum(edge) - size) // step + 1
        for length, edge, size, step in zip(shape, edges, sizes, steps_, strict=False)
    )
    if rows < 1 or columns < 1:
        raise BadParameter(
            f"The window of {sizes[0]}x{sizes[1]} is larger than the image of {shape[0]}x{shape[1]}. "
            "Use a smaller window or padding 'same'."
        )
    return rows, columns


def steps(
    image: ArrayLike,
    kernel: ArrayLike,
    stride: int | tuple[int, int] = 1,
    padding: Padding = "valid",
    bias: ArrayLike = 0.0,
) -> Iterator[Step]:
    """How ``convolve`` gets each value: kernel by kernel, row by row, the window, the products, the sum."""
    pixels, weights, _ = _image_and_kernels(image, kernel)
    flat = np.ndim(image) == 2
    offsets = _bias(bias, weights.shape[3])
    down, right = _stride(stride)
    windows = _windows(pixels, weights.shape[:2], (down, right), padding, fill=0.0)
    (top, _), (left, _) = pad_widths(pixels.shape[:2], weights.shape[:2], stride, padding)
    for number in range(weights.shape[3]):
        for row, column in np.ndindex(windows.shape[:2]):
            window = np.moveaxis(windows[row, column], 0, -1)
            products = window * weights[:, :, :, number]
            offset = float(offsets[number])
            yield Step(
                row=row,
                column=column,
                kernel=number,
                top=row * down - top,
                left=column * right - left,
                window=window[:, :, 0] if flat else window,
                products=products[:, :, 0] if flat else products,
                bias=offset,
                total=float(products.sum()) + offset,
            )


def _windows(pixels: Floats, window: tuple[int, ...], stride: tuple[int, int], padding: Padding, fill: float) -> Floats:
    """Views of every window: ``(rows, columns, channels, wh, ww)``."""
    size = (window[0], window[1])
    output_shape(pixels.shape, size, stride, padding)
    padded = pad(pixels, size, stride, padding, fill)
    return sliding_window_view(padded, size, axis=(0, 1))[:: stride[0], :: stride[1]]


def _same(length: int, size: int, step: int) -> tuple[int, int]:
    cells = -(-length // step)
    missing = max((cells - 1) * step + size - length, 0)
    return missing // 2, missing - missing // 2


def _image_and_kernels(image: ArrayLike, kernel: ArrayLike) -> tuple[Floats, Floats, bool]:
    """Image ``(h, w, channels)``, kernels ``(kh, kw, channels, kernels)``, whether one kernel was meant."""
    pixels, _ = _image(image)
    weights = _numbers(kernel, "kernel")
    if weights.ndim not in (2, 3, 4) or 0 in weights.shape:
        raise BadParameter(
            f"The kernel has the shape {_shape(weights)}. Give a matrix, or (height, width, channels), "
            "or (height, width, channels, kernels), none of them zero."
        )
    single = weights.ndim < 4
    channels = pixels.shape[2]
    if weights.ndim == 2:
        weights = weights[:, :, None]
    if weights.ndim == 3:
        weights = weights[:, :, :, None]
    if weights.shape[2] != channels:
        raise BadParameter(
            f"The kernel has {weights.shape[2]} channel(s) and the image {channels}. "
            "A kernel needs as many channels as the image."
        )
    return pixels, weights, single


def _image(image: ArrayLike) -> tuple[Floats, bool]:
    """Image as ``(height, width, channels)``, and whether it came as a matrix."""
    pixels = _numbers(image, "image")
    if pixels.ndim not in (2, 3) or 0 in pixels.shape:
        raise BadParameter(
            f"The image has the shape {_shape(pixels)}. Give a matrix, or (height, width, channels), none of them zero."
        )
    return (pixels[:, :, None], True) if pixels.ndim == 2 else (pixels, False)


def _numbers(values: ArrayLike, what: str) -> Floats:
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "buif":
            raise TypeError(array.dtype.name)
        array = array.astype(np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise BadParameter(
            f"The {what} is no rectangular array of numbers. Give rows of equal length, only numbers in them."
        ) from error
    if not bool((np.abs(array) <= _LARGEST).all()):
        raise BadParameter(
            f"The {what} holds values that are not finite, or beyond 1e100. Replace them by ordinary numbers."
        )
    return cast(Floats, array)


def _bias(bias: ArrayLike, kernels: int) -> Floats:
    offsets = _numbers(bias, "bias")
    if offsets.size not in (1, kernels) or offsets.ndim > 1:
        raise BadParameter(
            f"The bias has the shape {_shape(offsets)} for {kernels} kernel(s). "
            "Give one number, or one for each kernel."
        )
    return np.broadcast_to(offsets, (kernels,))


def _stride(stride: int | tuple[int, int]) -> tuple[int, int]:
    return _pair(stride, "Stride")


def _pair(value: int | tuple[int, int], what: str) -> tuple[int, int]:
    """One whole number of at least 1, or two of them as (down, right)."""
    pair = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    whole = all(isinstance(n, (int, np.integer)) and not isinstance(n, bool) for n in pair)
    if not whole or len(pair) != 2 or min(pair) < 1:
        raise BadParameter(f"{what} {value!r} is impossible. Give a whole number of at least 1, or two of them.")
    return int(pair[0]), int(pair[1])


def _shape(array: NDArray[np.generic]) -> str:
    return "x".join(map(str, array.shape)) or "a single number"
