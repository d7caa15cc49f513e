"""Images for the report: thumbnails, and class activation maps drawn over them."""

import base64
import io
from collections.abc import Callable

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from models.arrays import Floats, Pixels
from models.card import Card
from models.runtime.base import Runtime
from models.runtime.cam import class_activation
from training.data.dataset import Sample
from training.data.loader import load_one

ActivationMap = Callable[[Sample, int], Floats]
"""The class activation map (h, w) of an image for a label index."""

_FOR, _AGAINST = np.array((255, 122, 26)), np.array((42, 140, 255))
"""Colours of evidence for a label and against it; distinct to colour-blind eyes."""
_OPACITY = 0.75
_SMOOTHING = 0.03
"""Standard deviation of the smoothing, in sides of the map: a map of seven cells is left nearly as it is."""
_PERCENTILE = 99.5


def activation_maps(runtime: Runtime, card: Card, kernel: Floats, bias: Floats) -> ActivationMap | None:
    """A function (sample, label index) -> map (h, w), through the serving runtime; for ``Report.activation``.

    The maps are those of ``/v1/explain``: the label's class activation minus the mean of the other labels' ones,
    biases included. Their mean is the label's logit minus the mean of the other logits.
    ``kernel`` (embedding, classes) and ``bias`` (classes,) are the head's. None where the head averages no
    feature maps, so that there is no exact map.
    """
    if not card.head.pools:
        return None
    taps = tuple(dict.fromkeys(pool.tap for pool in card.head.pools))
    kernel, bias = _minus_others(kernel), _minus_others(bias)
    latest: dict[str, dict[int, Floats]] = {}

    def maps_of(sample: Sample) -> dict[int, Floats]:
        # The report asks for two labels of the same image, one after the other.
        if sample.sha256 not in latest:
            image = load_one(sample, card.input_size)
            found = runtime.run(image[None], tuple(f"tap_{tap}" for tap in taps))
            latest.clear()
            latest[sample.sha256] = {tap: found[f"tap_{tap}"][0] for tap in taps}
        return latest[sample.sha256]

    return lambda sample, label: class_activation(maps_of(sample), kernel, bias, card.head, label) + bias[label]


def _minus_others(columns: Floats) -> Floats:
    """Each class's column (last axis) minus the mean of the other classes' columns."""
    wide = columns.astype(np.float64)
    others = (wide.sum(axis=-1, keepdims=True) - wide) / (wide.shape[-1] - 1)
    difference: Floats = (wide - others).astype(np.float32)
    return difference


def overlay(image: Pixels, activation: Floats, limit: float | None = None) -> Pixels:
    """A class activation map (h, w) over ``image`` (height, width, 3), which turns grey beneath it.

    Orange is evidence for the label, blue against it; ``limit`` is the magnitude of full colour, by default
    ``full_colour`` of the map. Maps of coarse layers come in blocks, hence the smoothing.
    """
    height, width = image.shape[:2]
    scaled = _smooth(activation) / (limit or full_colour(activation) or 1.0)
    resized = Image.fromarray(scaled).resize((width, height), Image.Resampling.BICUBIC)
    strength = np.clip(np.asarray(resized), -1, 1)[:, :, None]
    grey = image.mean(axis=2, keepdims=True)
    colour = np.where(strength > 0, _FOR, _AGAINST)
    opacity = _OPACITY * np.abs(strength)
    blended: Pixels = np.clip(grey * (1 - opacity) + colour * opacity, 0, 255).astype(np.uint8)
    return blended


def full_colour(activation: Floats) -> float:
    """The magnitude below which all but the strongest places of the smoothed map are."""
    return float(np.percentile(np.abs(_smooth(activation)), _PERCENTILE))


def _smooth(activation: Floats) -> Floats:
    smooth: Floats = gaussian_filter(
        np.asarray(activation, np.float32), _SMOOTHING * max(activation.shape), mode="nearest"
    )
    return smooth


def jpeg_uri(pixels: Pixels, quality: int = 82) -> str:
    """The pixels as a ``data:`` URI."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=quality)
    return data_uri(out.getvalue(), "image/jpeg")


def data_uri(data: bytes, media_type: str) -> str:
    """Bytes as a ``data:`` URI."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"
