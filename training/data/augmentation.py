"""Random augmentation of training images: rotation, shift, zoom, flips, brightness, contrast.

It works on uint8 pixels, outside the network. All geometric transforms of an image are one affine resampling, which
takes a third of the processor time of Keras's layers, since those resample once for each transform.
"""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from models.errors import BadParameter
from models.image.decode import to_png
from training.data.validate import decode_threads

Pixels = NDArray[np.uint8]

_LIMITS = {"rotate": 180.0, "shift": 0.5, "zoom": 0.5, "brightness": 0.5, "contrast": 0.9}
_USUAL = {
    "rotate": 10.0,
    "shift": 0.1,
    "zoom": 0.1,
    "flip": True,
    "vertical_flip": True,
    "brightness": 0.1,
    "contrast": 0.2,
}
"""Strength of a transform that is given by name alone."""


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Maximum strength of each transform; 0 or False turns it off. Calling it with a batch augments each image.

    Pixels from outside of the image are reflected at its edge.
    """

    rotate: float = 0.0
    """Degrees in either direction."""
    shift: float = 0.0
    """Fraction of the side, in each direction."""
    zoom: float = 0.0
    """Fraction by which the image is enlarged or reduced."""
    flip: bool = False
    """Flip left to right with probability 0.5."""
    vertical_flip: bool = False
    """Flip top to bottom with probability 0.5."""
    brightness: float = 0.0
    """Fraction of the full range, lighter or darker."""
    contrast: float = 0.0
    """Fraction by which differences from the image's mean are enlarged or reduced."""

    def __post_init__(self) -> None:
        for key, most in _LIMITS.items():
            value = getattr(self, key)
            if not 0 <= value <= most:
                raise BadParameter(f"The augmentation {key} is {value}. Use a number from 0 to {most:g}.")

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Parse ``"flip, rotate=15, brightness"``; a name without a value has its usual strength.

        ``"all"`` turns on everything, ``"usual"`` everything but the vertical flip, ``"none"`` nothing. Raises
        ``BadParameter``, which names the unknown word.
        """
        chosen: dict[str, Any] = {}
        for word in filter(None, (part.strip() for part in text.replace(";", ",").split(","))):
            name, _, value = (part.strip() for part in word.partition("="))
            name = name.lower().replace("-", "_")
            if name in ("none", "off"):
                continue
            if name in ("usual", "all"):
                chosen |= {key: usual for key, usual in _USUAL.items() if name == "all" or key != "vertical_flip"}
                continue
            if name not in _USUAL:
                raise BadParameter(f"There is no augmentation '{name}'. Use usual, all, none, or {', '.join(_USUAL)}.")
            chosen[name] = _value(name, value)
        return cls(**chosen)

    @property
    def active(self) -> bool:
        """Whether anything is on."""
        return any(getattr(self, field.name) for field in fields(self))

    def __str__(self) -> str:
        """The text that ``from_text`` parses."""
        on = {field.name: getattr(self, field.name) for field in fields(self)}
        return ", ".join(k if v is True else f"{k}={v:g}" for k, v in on.items() if v) or "none"

    def __call__(self, images: Pixels, rng: np.random.Generator) -> Pixels:
        """Augment each image ``(n, height, width, 3)``; the result depends on the generator's state alone."""
        return self.vary(images, rng.random((len(images), 8)))

    def vary(self, images: Pixels, draws: NDArray[np.float64]) -> Pixels:
        """Augment each image by eight random numbers in [0, 1): ``draws`` (n, 8)."""
        if not self.active or not len(images):
            return images
        with ThreadPoolExecutor(decode_threads()) as pool:
            return np.stack(list(pool.map(self._vary, images, draws)))

    def _vary(self, image: Pixels, draw: NDArray[np.float64]) -> Pixels:
        """One image; ``draw`` has a number for each transform, whether that is on or not."""
        either = 2 * draw - 1
        if self.rotate or self.shift or self.zoom:
            image = _transformed(
                image,
                angle=math.radians(self.rotate) * either[0],
                shift=(self.shift * either[1], self.shift * either[2]),
                scale=(1 + self.zoom) ** either[3],
            )
        if self.flip and draw[4] < 0.5:
            image = image[:, ::-1]
        if self.vertical_flip and draw[5] < 0.5:
            image = image[::-1]
        if self.brightness or self.contrast:
            image = _relit(image, 255 * self.brightness * either[6], (1 + self.contrast) ** either[7])
        return image


def preview_sheet(images: Pixels, augmentation: Augmentation, *, seed: int = 0, variants: int = 7) -> bytes:
    """A PNG with a row for each of ``images`` (n, height, width, 3): the original, then augmented variants."""
    rng = np.random.default_rng(seed)
    columns = [images, *(augmentation(images, rng) for _ in range(variants))]
    gap, head = 6, 24
    n, height, width, _ = images.shape
    sheet = Image.new("RGB", (len(columns) * (width + gap) + gap, head + n * (height + gap) + gap), "white")
    pen = ImageDraw.Draw(sheet)
    for column, pictures in enumerate(columns):
        x = gap + column * (width + gap)
        for row, picture in enumerate(pictures):
            sheet.paste(Image.fromarray(picture), (x, head + row * (height + gap)))
    font = ImageFont.load_default(13)
    pen.text((gap, 5), "original", fill="#1a1a1a", font=font)
    pen.text((2 * gap + width, 5), str(augmentation), fill="#1a1a1a", font=font)
    return to_png(np.asarray(sheet))


def _transformed(image: Pixels, *, angle: float, shift: Sequence[float], scale: float) -> Pixels:
    """Rotate by ``angle`` radians about the centre, enlarge by ``scale``, shift by fractions of the side."""
    height, width = image.shape[:2]
    cos, sin = math.cos(angle) / scale, math.sin(angle) / scale
    # Pillow maps output pixels to input pixels, so this is the inverse transform.
    centre_x, centre_y = width / 2, height / 2
    from_x, from_y = centre_x + shift[0] * width, centre_y + shift[1] * height
    left, top = centre_x - cos * from_x - sin * from_y, centre_y + sin * from_x - cos * from_y
    corners = [(cos * x + sin * y + left, -sin * x + cos * y + top) for x in (0, width) for y in (0, height)]
    margin = _margin(corners, height, width)
    padded = np.pad(image, ((margin, margin), (margin, margin), (0, 0)), mode="symmetric")
    matrix = (cos, sin, left + margin, -sin, cos, top + margin)
    transformed = Image.fromarray(padded).transform(
        (width, height), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
    )
    return np.asarray(transformed)


def _margin(corners: Sequence[tuple[float, float]], height: int, width: int) -> int:
    """Maximum distance of the corners from the image, in whole pixels, plus one."""
    over = max(max(-x, x - width, -y, y - height) for x, y in corners)
    return max(0, math.ceil(over)) + 1


def _relit(image: Pixels, brightness: float, contrast: float) -> Pixels:
    """Differences from the image's mean multiplied by ``contrast``, then ``brightness`` added."""
    mean = float(image.mean())
    table = np.clip((np.arange(256) - mean) * contrast + mean + brightness, 0, 255).astype(np.uint8)
    relit: Pixels = table[image]
    return relit


def _value(name: str, text: str) -> float | bool:
    """The strength written after ``name=``; by default the usual one."""
    usual = _USUAL[name]
    lowered = text.lower()
    if not text or lowered in ("on", "true", "yes"):
        return usual
    if lowered in ("off", "false", "no"):
        return type(usual)(0)
    try:
        return type(usual)(float(text))
    except ValueError:
        raise BadParameter(f"The augmentation {name} is '{text}'. Give a number, on or off.") from None
