"""Class activation as a picture: the colors of ``service.rendering.colormap`` over the dimmed image."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from service.rendering.colormap import colour, legend
from service.rendering.text import BACKGROUND, FAINT, GAP, MARGIN, TEXT, fit, font, png

_PERCENTILE = 99.5
"""Of the magnitudes: what gets the brightest color."""


def activation_overlay(
    image: NDArray[np.uint8],
    activation: NDArray[np.floating],
    *,
    title: str,
    subtitle: str = "",
) -> bytes:
    """PNG of an image, beside it the same in grey with a class activation map over it, and a legend.

    Parameters
    ----------
    image: (height, width, 3), of any size
    activation: (h, w), stretched over the whole image, bicubic in between
    title, subtitle: two lines above
    """
    height, width = image.shape[:2]
    values = np.nan_to_num(activation.astype(np.float32))
    limit = float(np.percentile(np.abs(values), _PERCENTILE)) or float(np.abs(values).max())
    heat = np.asarray(Image.fromarray(values).resize((width, height), Image.Resampling.BICUBIC))
    heat = np.clip(heat, values.min(), values.max())
    mixed = _blended(image, heat, limit)
    top, foot = MARGIN + 56, 56
    inner = max(2 * width + GAP, 420)
    sheet = Image.new("RGB", (2 * MARGIN + inner, top + height + foot), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN - 2), fit(title, 19, inner), font=font(19), fill=TEXT)
    draw.text((MARGIN, MARGIN + 26), fit(subtitle, 13, inner), font=font(13), fill=FAINT)
    for place, picture in enumerate((image, mixed)):
        sheet.paste(Image.fromarray(picture), (MARGIN + place * (width + GAP), top))
    _draw_legend(sheet, draw, (MARGIN, top + height + 14), inner, values, limit)
    return png(sheet)


def _blended(image: NDArray[np.uint8], heat: NDArray[np.floating], limit: float) -> NDArray[np.uint8]:
    """The image in dim grey with the heat map's colors added: black adds nothing."""
    if limit == 0:
        return image
    grey = image.astype(np.float32).mean(axis=2, keepdims=True)
    dimmed = grey * (0.7 - 0.5 * np.abs(heat)[..., None] / limit)
    lit: NDArray[np.float32] = dimmed + 0.9 * colour(heat, limit)
    return np.clip(lit, 0, 255).round().astype(np.uint8)


def _draw_legend(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    available: int,
    values: NDArray[np.float32],
    limit: float,
) -> None:
    x, y = corner
    signed = bool(values.min() < 0)
    width = min(320, available - 130)
    sheet.paste(Image.fromarray(legend(width, 12, signed)), (x, y))
    ticks = [(0, -limit, "ls"), (width // 2, 0.0, "ms"), (width, limit, "rs")]
    for offset, value, anchor in ticks if signed else [(0, 0.0, "ls"), (width, limit, "rs")]:
        draw.text((x + offset, y + 26), f"{value:.3g}", font=font(11), fill=FAINT, anchor=anchor)
    text = "for the label" if not signed else "against / for"
    draw.text((x + width + 12, y + 6), text, font=font(12), fill=FAINT, anchor="lm")
