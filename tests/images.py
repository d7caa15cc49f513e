"""Real images for every test: photograph-like arrays, encoded in each format.

Everything is drawn from a seed, so that the same call gives the same bytes.
"""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
MEDIA_TYPES = {name: f"image/{name.lower()}" for name in FORMATS}


def photograph(height: int = 64, width: int = 64, seed: int = 0) -> NDArray[np.uint8]:
    """Something like a photograph ``(height, width, 3)``: a soft gradient, blobs, some grain."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j][:, :, :, None]
    picture = rng.uniform(40, 200, 3) + (x * rng.uniform(-90, 90, 3)) + (y * rng.uniform(-90, 90, 3))
    for _ in range(6):
        cy, cx, radius = rng.uniform(0, 1), rng.uniform(0, 1), rng.uniform(0.05, 0.25)
        blob = 1 / (1 + np.exp((np.hypot(y - cy, x - cx) - radius) * 60))
        picture = picture + blob * rng.uniform(-120, 120, 3)
    picture = picture + rng.normal(0, 4, (height, width, 1))
    return np.clip(picture, 0, 255).astype(np.uint8)


def encode(array: NDArray[Any], format: str = "JPEG", **options: Any) -> bytes:
    """The array as a file of that format; options go to Pillow's ``save``."""
    return save(Image.fromarray(array), format, **options)


def save(image: Image.Image, format: str = "JPEG", **options: Any) -> bytes:
    """A Pillow image as the bytes of a file."""
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def jpeg(height: int = 64, width: int = 64, seed: int = 0, quality: int = 90, **options: Any) -> bytes:
    """A photograph-like JPEG."""
    return encode(photograph(height, width, seed), "JPEG", quality=quality, **options)


def png(height: int = 64, width: int = 64, seed: int = 0, **options: Any) -> bytes:
    """A photograph-like PNG."""
    return encode(photograph(height, width, seed), "PNG", **options)
