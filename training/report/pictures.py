"""Small pictures for the report: an image as people see it, and where the network saw a label in it."""

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from models.image.decode import DEFAULT_LIMITS, Limits, thumbnail

Pixels = NDArray[np.uint8]
Floats = NDArray[np.floating]
_FOR, _AGAINST = np.array((255, 122, 26)), np.array((42, 140, 255))
"""Colours of what speaks for a label and against it; distinct to colour-blind eyes."""
_OPACITY = 0.75
_SMOOTHING = 0.03
"""Standard deviation of the smoothing, in sides of the map: a map of seven cells is left nearly as it is."""
_PERCENTILE = 99.5
SIDE = 240


def picture(data: bytes, side: int = SIDE, limits: Limits = DEFAULT_LIMITS) -> Pixels:
    """The image at its own proportions, its longer side ``side`` pixels at most."""
    return thumbnail(data, side, limits)


def overlay(image: Pixels, activation: Floats, limit: float | None = None) -> Pixels:
    """A class activation map (h, w) over ``image`` (height, width, 3), which turns grey beneath it.

    Orange speaks for the label, blue against it; ``limit`` is the magnitude of full colour, by default
    ``full_colour`` of the map. Maps of coarse layers come in blocks, hence the smoothing.
    """
    height, width = image.shape[:2]
    scaled = _smooth(activation) / (limit or full_colour(activation) or 1.0)
    spread = Image.fromarray(scaled).resize((width, height), Image.Resampling.BICUBIC)
    strength = np.clip(np.asarray(spread), -1, 1)[:, :, None]
    grey = image.mean(axis=2, keepdims=True)
    colour = np.where(strength > 0, _FOR, _AGAINST)
    opacity = _OPACITY * np.abs(strength)
    blended: Pixels = np.clip(grey * (1 - opacity) + colour * opacity, 0, 255).astype(np.uint8)
    return blended


def full_colour(activation: Floats) -> float:
    """The magnitude that all but the strongest places of the smoothed map stay below."""
    return float(np.percentile(np.abs(_smooth(activation)), _PERCENTILE))


def _smooth(activation: Floats) -> NDArray[np.float32]:
    smooth: NDArray[np.float32] = gaussian_filter(
        np.asarray(activation, np.float32), _SMOOTHING * max(activation.shape), mode="nearest"
    )
    return smooth


def jpeg_uri(pixels: Pixels, quality: int = 82) -> str:
    """The pixels as a ``data:`` address to stand inside HTML."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=quality)
    return data_uri(out.getvalue(), "image/jpeg")


def data_uri(data: bytes, media_type: str) -> str:
    """Bytes as a ``data:`` address."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"
