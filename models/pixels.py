"""From whatever a file's pixels are to 8-bit RGB, by one rule for each kind.

- grey, palette, YCbCr, Lab, one bit: the same colours as RGB;
- CMYK: by plain arithmetic; a JPEG's is read inverted, as Adobe and nearly everybody writes it;
- transparent in any form: laid on white, as a page would show it;
- 16-bit grey or colour: the high byte, so scaled and not clipped;
- signed and 32-bit whole numbers, floats: values within 0..1 (floats only), 0..255 or 0..65535 are taken
  as parts of that range, any other range is stretched to black and white; NaN is black.

Colour profiles are ignored, in training and in serving alike.
"""

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
Box = tuple[float, float, float, float]

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_REDUCING_GAP = 2.0
"""Shrink by whole numbers first, as long as the last step still halves: fast and hardly different."""


def to_rgb(image: Image.Image, size: tuple[int, int] | None, box: Box | None, orientation: int) -> Pixels:
    """RGB ``(height, width, 3)`` of a loaded image: resized to ``size``, then turned upright.

    ``size`` is (height, width) after the turn; ``box`` the part of ``image`` that counts, where a JPEG
    that was decoded at a smaller scale has a fraction of a pixel too much at its right and lower edge.
    """
    image = _plain(image)
    if size is not None:
        height, width = size if orientation < 5 else (size[1], size[0])
        image = image.resize((width, height), Image.Resampling.BILINEAR, box, _REDUCING_GAP)
    if orientation in _TURNS:
        image = image.transpose(_TURNS[orientation])
    if image.mode == "RGBa":
        return _on_white(np.asarray(image))
    return cast(Pixels, np.array(image if image.mode == "RGB" else image.convert("RGB")))


def _plain(image: Image.Image) -> Image.Image:
    """The image as ``L``, ``RGB``, or ``RGBa`` (colours already multiplied by their alpha)."""
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_to_bytes(np.asarray(image)))
    if image.has_transparency_data:
        if image.mode == "La":
            image = image.convert("LA")
        return image if image.mode == "RGBa" else image.convert("RGBA").convert("RGBa")
    if image.mode == "1":
        return image.convert("L")
    return image if image.mode in ("L", "RGB") else image.convert("RGB")


def _on_white(pixels: Pixels) -> Pixels:
    """Premultiplied RGBA laid on white: what is missing to full cover is white."""
    colours, cover = pixels[:, :, :3], pixels[:, :, 3:]
    return np.minimum(colours, cover) + (255 - cover)


def _to_bytes(values: NDArray[Any]) -> Pixels:
    """Deep grey values ``(height, width)`` as bytes; the file's own range decides the scale."""
    if values.dtype.kind == "u" and values.dtype.itemsize == 2:
        return (values >> 8).astype(np.uint8)
    # Doubles, so that the span of the largest 32-bit floats is still a number.
    numbers = values.astype(np.float64)
    finite = np.isfinite(numbers)
    low, high = _range(numbers[finite], values.dtype.kind == "f")
    numbers = np.clip((numbers - low) * (255 / (high - low)), 0, 255)
    return np.where(np.isnan(numbers), 0, np.rint(numbers)).astype(np.uint8)


def _range(numbers: NDArray[np.float64], fractions: bool) -> tuple[float, float]:
    """The values that stand for black and white."""
    if not numbers.size:
        return 0.0, 1.0
    low, high = float(numbers.min()), float(numbers.max())
    for usual in (1.0, 255.0, 65535.0) if fractions else (255.0, 65535.0):
        if low >= 0 and high <= usual:
            return 0.0, usual
    return low, high if high > low else low + 1
