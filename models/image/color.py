"""From whatever a file's pixels are to 8-bit RGB, by one rule for each kind.

- grey, palette, YCbCr, Lab, one bit: the same colours as RGB;
- CMYK: by plain arithmetic; a JPEG's is read inverted, as Adobe and nearly everybody writes it;
- transparent in any form: laid on white, as a page would show it;
- 16-bit grey or colour: the high byte, so scaled and not clipped;
- signed and 32-bit whole numbers, floats: values within 0..1 (floats only), 0..255 or 0..65535 are taken
  as parts of that range, any other range is stretched to black and white; NaN is black.

Colour profiles are ignored, in training and in serving alike.
"""

from collections.abc import Iterator
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.arrays import Pixels as Pixels

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
        return Image.fromarray(_to_bytes(image))
    if image.mode == "RGBA" and image.getchannel("A").getextrema() == (255, 255):
        # Most screenshots: they carry an alpha channel and make no use of it.
        return image.convert("RGB")
    if image.has_transparency_data:
        # Two steps where need be, since Pillow knows RGBa only from RGBA; no step that would only copy.
        for mode in ("LA", "RGBA", "RGBa") if image.mode == "La" else ("RGBA", "RGBa"):
            image = image if image.mode in (mode, "RGBa") else image.convert(mode)
        return image
    if image.mode == "1":
        return image.convert("L")
    return image if image.mode in ("L", "RGB") else image.convert("RGB")


def _on_white(pixels: Pixels) -> Pixels:
    """Premultiplied RGBA laid on white: what is missing to full cover is white."""
    colours, cover = pixels[:, :, :3], pixels[:, :, 3:]
    return np.minimum(colours, cover) + (255 - cover)


def _to_bytes(image: Image.Image) -> Pixels:
    """Deep grey values as bytes ``(height, width)``; the file's own range decides the scale."""
    result = np.empty((image.height, image.width), np.uint8)
    if image.mode.startswith("I;16") and not image.mode.endswith("S"):
        for top, values in _strips(image):
            result[top : top + len(values)] = values >> 8
        return result
    low, high = _range(image)
    for top, values in _strips(image):
        # Doubles, so that the span of the largest 32-bit floats is still a number; a signalling NaN is no news.
        with np.errstate(invalid="ignore"):
            scaled = np.clip((values.astype(np.float64) - low) / (high - low) * 255, 0, 255)
        result[top : top + len(values)] = np.where(np.isnan(scaled), 0, np.rint(scaled))
    return result


def _range(image: Image.Image) -> tuple[float, float]:
    """The values that stand for black and white."""
    low, high = np.inf, -np.inf
    for _, values in _strips(image):
        finite = values[np.isfinite(values)]
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    for usual in (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0):
        if low >= 0 and high <= usual:
            return 0.0, usual
    return low, high if high > low else low + 1


def _strips(image: Image.Image) -> Iterator[tuple[int, NDArray[Any]]]:
    """(first row, values) of a few rows at a time, so that no second image of that depth is ever held."""
    rows = max(1, 1_000_000 // image.width)
    for top in range(0, image.height, rows):
        yield top, np.asarray(image.crop((0, top, image.width, min(image.height, top + rows))))
