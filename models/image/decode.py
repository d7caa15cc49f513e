"""Bytes to pixels: the one decode and resize, used by training and serving.

Six formats: JPEG, PNG, WebP, GIF, BMP, TIFF. The header is checked against the limits before anything is decoded;
then every image becomes 8-bit RGB, upright, its first frame only (``models/image/color.py`` converts colours). A file
that cannot be read to its end is a ``BadImage``, never half an image. Thread-safe; Pillow decodes outside of the GIL.
"""

import hashlib
import io
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# The plug-ins of these formats; without the imports, the first image makes Pillow load all of its plug-ins.
from PIL import (
    BmpImagePlugin,  # noqa: F401
    GifImagePlugin,  # noqa: F401
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
    WebPImagePlugin,  # noqa: F401
)

from models.arrays import Pixels as Pixels
from models.errors import BadImage, BadParameter, CatseyeError, TooLarge, TooManyPixels
from models.image.color import Box, to_rgb
from models.image.filetype import describe_file
from models.image.header import ImageInfo, read_header

MAX_SIDE = 65_535
"""JPEG's own limit. One pixel by fifty million rows would take seconds."""

# Pillow's warnings quote parts of the file, and Python keeps every distinct warning for ever, so that clients could
# fill the memory of a server with them.
warnings.filterwarnings("ignore", module=r"PIL\.")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the header of an image may declare."""

    max_bytes: int = 20_000_000
    max_pixels: int = 50_000_000
    """Width times height. Decoding takes up to four bytes for each pixel (baseline JPEG a hundredth of that,
    progressive JPEG six, transparent PNG eight, WebP sixteen)."""
    max_frames: int = 1_000
    """Of an animation or a TIFF with several pages; only the first is decoded."""

    def __post_init__(self) -> None:
        for name in ("max_bytes", "max_pixels", "max_frames"):
            if getattr(self, name) < 1:
                raise BadParameter(f"{name} is {getattr(self, name)}. Set it to 1 or more.")


DEFAULT_LIMITS = Limits()


def inspect(data: bytes, limits: Limits = DEFAULT_LIMITS) -> ImageInfo:
    """Format, size and frames from the header alone, within microseconds.

    Raises ``TooLarge``, ``TooManyPixels``, or ``BadImage`` for what is no image or has a broken header.
    """
    if len(data) > limits.max_bytes:
        raise TooLarge(
            f"The image has {len(data):,} bytes and at most {limits.max_bytes:,} are read. "
            "Send it smaller or more compressed."
        )
    info = read_header(data, limits.max_pixels, limits.max_frames)
    if info is None:
        raise BadImage(describe_file(data))
    if info.width < 1 or info.height < 1:
        raise BadImage(f"The image is {info.width}x{info.height} pixels in size. Send one that has pixels.")
    if max(info.width, info.height) > MAX_SIDE:
        raise TooManyPixels(
            f"The image is {info.width}x{info.height} pixels and a side of at most {MAX_SIDE:,} is read. "
            "Cut it into pieces, or send it smaller."
        )
    if info.width * info.height > limits.max_pixels:
        raise TooManyPixels(
            f"The image is {info.width}x{info.height} = {info.width * info.height:,} pixels and at most "
            f"{limits.max_pixels:,} are read. Send it smaller."
        )
    if info.frames > limits.max_frames:
        raise TooManyPixels(f"The image has more than {limits.max_frames:,} frames. Send one of them.")
    return info


def decode(data: bytes, size: tuple[int, int] | None = None, limits: Limits = DEFAULT_LIMITS) -> Pixels:
    """RGB pixels ``(height, width, 3)``, writable, stretched to ``size`` = (height, width) where given.

    Reducing is bilinear over the whole area of each new pixel; a JPEG is decoded at the smallest of its
    scales (1/8 to 1) that is at least ``size``. Raises what ``inspect`` raises, and ``BadImage``
    where the pixels are damaged or missing.
    """
    return _decode(data, inspect(data, limits), size, limits)


def thumbnail(data: bytes, side: int, limits: Limits = DEFAULT_LIMITS) -> Pixels:
    """RGB pixels in the image's own proportions, at most ``side`` on the longer side; never enlarged."""
    info = inspect(data, limits)
    scale = min(1.0, side / max(info.shape))
    height, width = (max(1, round(length * scale)) for length in info.shape)
    return _decode(data, info, (height, width), limits)


def to_png(array: NDArray[np.uint8]) -> bytes:
    """A PNG of grey ``(height, width)``, RGB or RGBA ``(height, width, 3 or 4)`` pixels."""
    if array.dtype != np.uint8 or 0 in array.shape or not (array.ndim == 2 or array.shape[2:] in ((3,), (4,))):
        raise BadParameter(
            f"An array of shape {array.shape} and type {array.dtype} is no image. "
            "Give uint8 values as (height, width), or (height, width, 3 or 4)."
        )
    out = io.BytesIO()
    Image.fromarray(array).save(out, "PNG")
    return out.getvalue()


def content_hash(data: bytes) -> str:
    """SHA-256 of a file's bytes, in hex: one photograph under two names has one hash."""
    return hashlib.sha256(data).hexdigest()


def _decode(data: bytes, info: ImageInfo, size: tuple[int, int] | None, limits: Limits) -> Pixels:
    if size is not None and (min(size) < 1 or size[0] * size[1] > limits.max_pixels):
        raise BadParameter(f"The size {size[0]}x{size[1]} is impossible. Ask for 1 to {limits.max_pixels:,} pixels.")
    _set_pillow(limits)
    if info.parts is not None:
        view = memoryview(data)
        data = b"".join(view[start:stop] for start, stop in info.parts)
    try:
        with Image.open(io.BytesIO(data), formats=[info.format]) as image:
            if sorted(image.size) != sorted((info.width, info.height)):  # the limits were checked with another size
                raise BadImage("The image declares more than one size. Save it again.")
            box = _draft(image, info, size)
            image.load()
            return to_rgb(image, size, box, info.orientation)
    except CatseyeError:
        raise
    except Exception as error:
        # Hostile data make Pillow raise nearly any type, with messages that name objects of this process.
        raise BadImage(
            f"The {info.format} image is damaged, cut short, or of a kind that is not read here. "
            "Check that the whole file was sent, or save it again as JPEG or PNG."
        ) from error


def _set_pillow(limits: Limits) -> None:
    """Set what Pillow keeps for the whole process, since another library may have changed it."""
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    if Image.MAX_IMAGE_PIXELS is not None and limits.max_pixels > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = limits.max_pixels


def _draft(image: ImageFile.ImageFile, info: ImageInfo, size: tuple[int, int] | None) -> Box | None:
    """Have a JPEG decoded at a smaller scale that still covers ``size``; returns the box of the image in it."""
    if size is None or not isinstance(image, JpegImagePlugin.JpegImageFile):
        return None
    height, width = size if info.orientation < 5 else (size[1], size[0])
    drafted = image.draft(None, (width, height))
    return drafted[1] if drafted else None
