"""Bytes to pixels: the ONE decode and resize, used by training and serving alike."""

import hashlib
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from models.errors import BadImage, TooLarge, TooManyPixels

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
Pixels = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What an image may promise before anything of it is decoded."""

    max_bytes: int = 20_000_000
    max_pixels: int = 50_000_000
    max_frames: int = 1_000


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True)
class ImageInfo:
    """What the header says: sizes as stored, before any EXIF turn."""

    format: str
    width: int
    height: int
    frames: int


def inspect(data: bytes, limits: Limits = DEFAULT_LIMITS) -> ImageInfo:
    """Format and size from the header alone."""
    if len(data) > limits.max_bytes:
        raise TooLarge(f"The image has {len(data)} bytes. At most {limits.max_bytes} are read.")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            info = ImageInfo(image.format or "", image.width, image.height, 1)
    except Exception as error:
        raise BadImage("The data are no readable image. Send JPEG, PNG, WebP, GIF, BMP or TIFF.") from error
    if info.width * info.height > limits.max_pixels:
        raise TooManyPixels(
            f"The image has {info.width}x{info.height} pixels. At most {limits.max_pixels} are read."
        )
    return info


def decode(data: bytes, size: tuple[int, int] | None = None, limits: Limits = DEFAULT_LIMITS) -> Pixels:
    """RGB pixels ``(height, width, 3)``, stretched to ``size`` = (height, width) where given."""
    inspect(data, limits)
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if size is not None:
                image.draft("RGB", (size[1], size[0]))
            turned = ImageOps.exif_transpose(image).convert("RGB")
            if size is not None:
                turned = turned.resize((size[1], size[0]), Image.Resampling.BILINEAR, reducing_gap=2.0)
            return np.array(turned)
    except Exception as error:
        raise BadImage("The image is broken or cut short. Save it again and send the whole file.") from error


def to_png(array: Pixels) -> bytes:
    """A PNG of grey ``(height, width)``, RGB or RGBA ``(height, width, 3 or 4)`` pixels."""
    out = io.BytesIO()
    Image.fromarray(array).save(out, "PNG")
    return out.getvalue()


def content_hash(data: bytes) -> str:
    """SHA-256 of a file's bytes, in hex: the same file under two names has one hash."""
    return hashlib.sha256(data).hexdigest()


def thumbnail(data: bytes, side: int, limits: Limits = DEFAULT_LIMITS) -> Pixels:
    """The image at its own proportions, its longer side at most ``side`` pixels."""
    array = decode(data, None, limits)
    scale = min(1.0, side / max(array.shape[:2]))
    height, width = (max(1, round(n * scale)) for n in array.shape[:2])
    return decode(data, (height, width), limits)
