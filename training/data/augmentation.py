"""Random variants of training images, and their exact mirror images: more to learn from, no new photographs.

Everything works on uint8 pixels, outside the network, on training images only. One image costs one affine
resampling however many of the moves are on: a third of the processor time of Keras's own layers, which
resample once for each move.
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
from training.data.validate import workers

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
"""What a move is set to where it is only named."""


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How far each move may go; 0 or False turns it off. Called with a batch, it varies each image at random.

    Corners that turn into view show the image mirrored at its edge.
    """

    rotate: float = 0.0
    """Degrees to either side."""
    shift: float = 0.0
    """Share of the side, in each direction."""
    zoom: float = 0.0
    """Share by which the image grows or shrinks."""
    flip: bool = False
    """Left and right exchanged, every other time."""
    vertical_flip: bool = False
    brightness: float = 0.0
    """Share of the full range, up or down."""
    contrast: float = 0.0
    """Share by which differences from the image's mean grow or shrink."""

    def __post_init__(self) -> None:
        for key, most in _LIMITS.items():
            value = getattr(self, key)
            if not 0 <= value <= most:
                raise BadParameter(f"The augmentation {key} is {value}. Use a number from 0 to {most:g}.")

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Settings from words: ``"flip, rotate=15, brightness"``; a bare name takes its usual strength.

        ``"usual"`` and ``"all"`` turn on what hurts few data sets (no vertical flip) and everything;
        ``"none"`` nothing. Raises ``BadParameter`` naming the word that is unknown.
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
        """The words that ``from_text`` reads."""
        on = {field.name: getattr(self, field.name) for field in fields(self)}
        return ", ".join(k if v is True else f"{k}={v:g}" for k, v in on.items() if v) or "none"

    def __call__(self, images: Pixels, rng: np.random.Generator) -> Pixels:
        """A variant of each image ``(n, height, width, 3)``; the same generator state, the same pixels."""
        return self.vary(images, rng.random((len(images), 8)))

    def vary(self, images: Pixels, draws: NDArray[np.float64]) -> Pixels:
        """The variant of each image that eight numbers in [0, 1) stand for: ``draws`` (n, 8)."""
        if not self.active or not len(images):
            return images
        with ThreadPoolExecutor(workers()) as pool:
            return np.stack(list(pool.map(self._vary, images, draws)))

    def _vary(self, image: Pixels, draw: NDArray[np.float64]) -> Pixels:
        """One variant; ``draw`` holds eight numbers in [0, 1), one for each move, whether it is on or not."""
        either = 2 * draw - 1
        if self.rotate or self.shift or self.zoom:
            image = _moved(
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
            image = _lit(image, 255 * self.brightness * either[6], (1 + self.contrast) ** either[7])
        return image


def mirrors(images: Pixels, *, turned: bool = False) -> Pixels:
    """The exact copies of ``images`` ``(n, height, width, 3)``: ``(copies, n, height, width, 3)``.

    Four: as it is, left-right, up-down, both. ``turned`` adds the same four of the image with its axes
    exchanged (all eight symmetries of the square), for which the images must be square.
    """
    copies = [images, images[:, :, ::-1], images[:, ::-1], images[:, ::-1, ::-1]]
    if turned:
        if images.shape[1] != images.shape[2]:
            raise BadParameter(
                f"Images of {images.shape[1]} x {images.shape[2]} cannot be turned by a right angle. Use a square size."
            )
        copies += [copy.transpose(0, 2, 1, 3) for copy in copies]
    return np.stack(copies)


def preview_sheet(images: Pixels, augmentation: Augmentation, *, seed: int = 0, variants: int = 7) -> bytes:
    """A PNG to look at: each row one of ``images`` (n, height, width, 3) as it is, then variants of it."""
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


def _moved(image: Pixels, *, angle: float, shift: Sequence[float], scale: float) -> Pixels:
    """Turned by ``angle`` radians about the centre, enlarged by ``scale``, shifted by shares of the side."""
    height, width = image.shape[:2]
    cos, sin = math.cos(angle) / scale, math.sin(angle) / scale
    # Pillow asks where each output pixel comes from: out -> centre -> back turn and scale -> in.
    centre_x, centre_y = width / 2, height / 2
    from_x, from_y = centre_x + shift[0] * width, centre_y + shift[1] * height
    left, top = centre_x - cos * from_x - sin * from_y, centre_y + sin * from_x - cos * from_y
    corners = [(cos * x + sin * y + left, -sin * x + cos * y + top) for x in (0, width) for y in (0, height)]
    margin = _margin(corners, height, width)
    padded = np.pad(image, ((margin, margin), (margin, margin), (0, 0)), mode="symmetric")
    matrix = (cos, sin, left + margin, -sin, cos, top + margin)
    moved = Image.fromarray(padded).transform(
        (width, height), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
    )
    return np.asarray(moved)


def _margin(corners: Sequence[tuple[float, float]], height: int, width: int) -> int:
    """How far outside of the image the corners lie at most, in whole pixels with one to spare."""
    over = max(max(-x, x - width, -y, y - height) for x, y in corners)
    return max(0, math.ceil(over)) + 1


def _lit(image: Pixels, brightness: float, contrast: float) -> Pixels:
    """Grey values about the image's mean stretched by ``contrast``, then raised by ``brightness``."""
    mean = float(image.mean())
    table = np.clip((np.arange(256) - mean) * contrast + mean + brightness, 0, 255).astype(np.uint8)
    lit: Pixels = table[image]
    return lit


def _value(name: str, text: str) -> float | bool:
    """The strength written after ``name=``; its usual one where nothing is."""
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
