"""Pixels of any mode to 8-bit RGB.

- grey, palette, YCbCr, Lab, one bit: converted to RGB;
- CMYK: converted without a profile; in JPEG it is read inverted, as Adobe writes it;
- transparent: blended with white;
- 16-bit grey or colour: the high byte, so scaled and not clipped;
- signed and 32-bit integers, floats: values within 0..1 (floats only), 0..255 or 0..65535 are scaled from that range,
  any other range is stretched from black to white; NaN is black.

Colour profiles are ignored.
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
"""Reduce by an integer factor first, as long as the last step still halves: faster, with hardly any difference."""


def to_rgb(image: Image.Image, size: tuple[int, int] | None, box: Box | None, orientation: int) -> Pixels:
    """RGB ``(height, width, 3)`` of a loaded image: resized to ``size``, then turned upright.

    ``size`` is (height, width) after the turn. ``box`` is the image's area where a JPEG was decoded at a smaller
    scale, which adds a fraction of a pixel at the right and lower edge.
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
        # Most screenshots have an alpha channel and do not use it.
        return image.convert("RGB")
    if image.has_transparency_data:
        # In two steps where needed, since Pillow converts to RGBa only from RGBA; without steps that only copy.
        for mode in ("LA", "RGBA", "RGBa") if image.mode == "La" else ("RGBA", "RGBa"):
            image = image if image.mode in (mode, "RGBa") else image.convert(mode)
        return image
    if image.mode == "1":
        return image.convert("L")
    return image if image.mode in ("L", "RGB") else image.convert("RGB")


def _on_white(pixels: Pixels) -> Pixels:
    """Premultiplied RGBA blended with white."""
    colours, cover = pixels[:, :, :3], pixels[:, :, 3:]
    return np.minimum(colours, cover) + (255 - cover)


def _to_bytes(image: Image.Image) -> Pixels:
    """Grey values of more than 8 bits as bytes ``(height, width)``, scaled from the file's own range."""
    result = np.empty((image.height, image.width), np.uint8)
    if image.mode.startswith("I;16") and not image.mode.endswith("S"):
        for top, values in _strips(image):
            result[top : top + len(values)] = values >> 8
        return result
    low, high = _range(image)
    for top, values in _strips(image):
        # float64, since the difference of the largest float32 values overflows; NaN is expected.
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
    """(first row, values) of a few rows at a time, so that there is no second whole image of that depth."""
    rows = max(1, 1_000_000 // image.width)
    for top in range(0, image.height, rows):
        yield top, np.asarray(image.crop((0, top, image.width, min(image.height, top + rows))))
