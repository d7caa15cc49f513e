"""Pictures of what a network sees: a grid of feature maps, and class activation laid over an image.

Colour follows ``service.colours``: black is zero, warm is positive, cold is negative. Feature maps are
scaled each by its own largest magnitude (``scale="channel"``, the default: every filter's pattern shows)
or all by the layer's (``scale="layer"``: strengths can be compared). The largest magnitude is the 99.5th
percentile, so that one hot pixel does not darken a map.
"""

import io
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from models.card import Tap
from models.errors import BadParameter
from service.colours import colour, legend

Scale = Literal["channel", "layer"]

MAX_TILES: Final = 1024
"""Most channels on one picture."""
DEFAULT_TILES: Final = 64
"""Channels drawn when the caller names none: the strongest ones."""

_BACKGROUND: Final = (14, 17, 22)
_TEXT: Final = (232, 234, 237)
_FAINT: Final = (154, 160, 168)
_MARGIN: Final = 16
_GAP: Final = 6
_LABEL: Final = 16
_SHEET_WIDTH: Final = 1280
_PERCENTILE: Final = 99.5
_TILE_SIDES: Final = ((4, 400), (12, 240), (32, 150), (128, 112), (512, 72), (MAX_TILES + 1, 48))
"""(up to so many tiles, pixels of a tile's longer side)."""


def strongest_channels(maps: NDArray[np.floating], count: int) -> list[int]:
    """The ``count`` channels of (h, w, c) maps with the largest mean magnitude, strongest first."""
    strength = np.abs(maps).mean(axis=(0, 1))
    # A stable sort keeps equal channels in the layer's own order, so that the picture does not flicker.
    return [int(index) for index in np.argsort(-strength, kind="stable")[:count]]


@dataclass(frozen=True, kw_only=True)
class Layer:
    """The maps of one layer, and which of its channels to draw."""

    maps: NDArray[np.floating]
    """(height, width, channels) of the whole layer."""
    tap: Tap
    channels: Sequence[int] | None = None
    """In the order of drawing; default the strongest ones."""


def feature_grid(
    maps: NDArray[np.floating],
    tap: Tap,
    *,
    channels: Sequence[int] | None = None,
    scale: Scale = "channel",
    image: NDArray[np.uint8] | None = None,
) -> bytes:
    """PNG of one layer's feature maps as labelled tiles under a title with its name, shape and stride.

    Parameters
    ----------
    maps: (height, width, channels) values of the whole layer
    tap: what the layer is called
    channels: which channels to draw, in this order; default the ``DEFAULT_TILES`` strongest
    scale: whether colours are scaled channel by channel or over all drawn channels
    image: (height, width, 3), drawn as the first tile, to compare with

    Raises
    ------
    BadParameter
        A channel that the layer does not have, none at all, or more than ``MAX_TILES``.
    """
    return feature_grids([Layer(maps=maps, tap=tap, channels=channels)], scale=scale, image=image)


def feature_grids(
    layers: Sequence[Layer], *, scale: Scale = "channel", image: NDArray[np.uint8] | None = None
) -> bytes:
    """PNG of several layers' grids, one below the other; the limit on tiles holds for all together."""
    if sum(len(layer.channels or ()) for layer in layers) > MAX_TILES:
        raise BadParameter(
            f"More than {MAX_TILES} channels do not fit on one picture. Choose fewer with `channels`."
        )
    sheets = [_grid(layer, scale, image) for layer in layers]
    if len(sheets) == 1:
        return _png(sheets[0])
    size = max(sheet.width for sheet in sheets), sum(sheet.height for sheet in sheets)
    whole, y = Image.new("RGB", size, _BACKGROUND), 0
    for sheet in sheets:
        whole.paste(sheet, (0, y))
        y += sheet.height
    return _png(whole)


def _grid(layer: Layer, scale: Scale, image: NDArray[np.uint8] | None) -> Image.Image:
    maps, channels = layer.maps, layer.channels
    if channels is None:
        channels = strongest_channels(maps, DEFAULT_TILES - (image is not None))
    _check_channels(channels, maps.shape[2])
    drawn = np.nan_to_num(maps[:, :, list(channels)].astype(np.float64))
    limits = _limits(drawn, scale)
    tiles = [colour(drawn[:, :, place], float(limits[place])) for place in range(len(channels))]
    peaks = np.abs(drawn).max(axis=(0, 1))
    labels = [(str(channel), _peak(float(peak))) for channel, peak in zip(channels, peaks, strict=True)]
    if image is not None:
        tiles, labels = [image, *tiles], [("input", ""), *labels]
    sheet, draw = _tiled(tiles, labels, _tile_size(drawn.shape[0], drawn.shape[1], len(tiles)))
    bounds = (bool(drawn.min() < 0), "max" if scale == "channel" else _number(float(limits.max())))
    which = _which(len(channels), maps.shape[2], layer.channels is None, scale)
    _grid_title(sheet, draw, layer.tap, maps.shape, which, bounds)
    return sheet


def activation_overlay(
    image: NDArray[np.uint8],
    activation: NDArray[np.floating],
    *,
    title: str,
    subtitle: str = "",
    side_by_side: bool = True,
) -> bytes:
    """PNG of an image with a class activation map over it, beside the image itself, and a legend.

    Where nothing spoke for or against the class only the photograph, in grey, is left.

    Parameters
    ----------
    image: (height, width, 3), of any size
    activation: (h, w), stretched over the whole image, bicubic in between
    title, subtitle: two lines above
    """
    height, width = image.shape[:2]
    values = np.nan_to_num(activation.astype(np.float32))
    limit = float(np.abs(values).max())
    heat = np.asarray(Image.fromarray(values).resize((width, height), Image.Resampling.BICUBIC))
    heat = np.clip(heat, values.min(), values.max())
    mixed = _glow(image, heat, limit)
    pictures = [image, mixed] if side_by_side else [mixed]
    top, foot = _MARGIN + 56, 56
    inner = max(len(pictures) * (width + _GAP) - _GAP, 420)
    sheet = Image.new("RGB", (2 * _MARGIN + inner, top + height + foot), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN, _MARGIN - 2), _fit(title, 19, inner), font=_font(19), fill=_TEXT)
    draw.text((_MARGIN, _MARGIN + 26), _fit(subtitle, 13, inner), font=_font(13), fill=_FAINT)
    for place, picture in enumerate(pictures):
        sheet.paste(Image.fromarray(picture), (_MARGIN + place * (width + _GAP), top))
    _draw_legend(sheet, draw, (_MARGIN, top + height + 14), inner, values, limit)
    return _png(sheet)


def _glow(image: NDArray[np.uint8], heat: NDArray[np.floating], limit: float) -> NDArray[np.uint8]:
    """The image in dim grey with the heat's colours as light on top: black adds nothing, so no edge shows."""
    if limit == 0:
        return image
    grey = image.astype(np.float32).mean(axis=2, keepdims=True)
    dimmed = grey * (0.7 - 0.5 * np.abs(heat)[..., None] / limit)
    lit: NDArray[np.float32] = dimmed + 0.9 * colour(heat, limit)
    return np.clip(lit, 0, 255).round().astype(np.uint8)


def _check_channels(channels: Sequence[int], available: int) -> None:
    if not channels:
        raise BadParameter("No channel was chosen. Name at least one channel, or leave `channels` out.")
    wrong = [channel for channel in channels if not 0 <= channel < available]
    if wrong:
        raise BadParameter(f"The layer has no channel {wrong[0]}. Choose channels from 0 to {available - 1}.")


def _limits(drawn: NDArray[np.float64], scale: Scale) -> NDArray[np.float64]:
    """The magnitude that gets the brightest colour, for each channel."""
    magnitude = np.abs(drawn)
    limits: NDArray[np.float64] = np.percentile(magnitude, _PERCENTILE, axis=(0, 1))
    # A map that is zero nearly everywhere has a percentile of zero, but is not dead.
    limits = np.where(limits > 0, limits, magnitude.max(axis=(0, 1)))
    return np.full_like(limits, limits.max()) if scale == "layer" else limits


def _tile_size(height: int, width: int, count: int) -> tuple[int, int]:
    """(height, width) in pixels of a tile: whole multiples for small maps, shrunk for large ones."""
    target = next(side for most, side in _TILE_SIDES if count <= most)
    longest = max(height, width)
    if longest <= target:
        factor = target // longest
        return height * factor, width * factor
    return max(1, round(height * target / longest)), max(1, round(width * target / longest))


def _tiled(
    tiles: Sequence[NDArray[np.uint8]], labels: Sequence[tuple[str, str]], size: tuple[int, int]
) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """A sheet with all tiles under their labels, and room for the title above."""
    height, width = size
    columns = _columns(len(tiles), (_SHEET_WIDTH - 2 * _MARGIN + _GAP) // (width + _GAP))
    rows = -(-len(tiles) // columns)
    top = _MARGIN + 64
    sheet_width = max(2 * _MARGIN + columns * (width + _GAP) - _GAP, 640)
    sheet = Image.new("RGB", (sheet_width, top + rows * (height + _LABEL + _GAP) + _MARGIN), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for place, (tile, (name, note)) in enumerate(zip(tiles, labels, strict=True)):
        row, column = divmod(place, columns)
        x, y = _MARGIN + column * (width + _GAP), top + row * (height + _LABEL + _GAP)
        sheet.paste(_resized(tile, height, width), (x, y + _LABEL))
        draw.text((x, y + 13), name, font=_font(11), fill=_TEXT, anchor="ls")
        if width >= 72:
            draw.text((x + width, y + 13), note, font=_font(11), fill=_FAINT, anchor="rs")
    return sheet, draw


def _columns(count: int, most: int) -> int:
    """Columns, at least two thirds of ``most``, that leave the fewest empty places in the last row."""
    most = max(1, most)
    if count <= most:
        return count
    return min(range(most, most * 2 // 3, -1), key=lambda columns: -count % columns)


def _resized(tile: NDArray[np.uint8], height: int, width: int) -> Image.Image:
    picture = Image.fromarray(tile)
    grows = height >= tile.shape[0] and width >= tile.shape[1]
    # Enlarged maps keep their square cells, since those are the network's true resolution.
    return picture.resize((width, height), Image.Resampling.NEAREST if grows else Image.Resampling.BOX)


def _which(count: int, available: int, best_first: bool, scale: Scale) -> str:
    """The second line of a grid: which channels are on it, and what their colours mean."""
    scaled = "each scaled by its own largest value" if scale == "channel" else "one scale for all"
    if count == available:
        return f"all {count} channels{', strongest first' if best_first else ''}, {scaled}"
    chosen = f"the {count} strongest" if best_first else str(count)
    return f"{chosen} of {available} channels, {scaled}"


def _grid_title(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    tap: Tap,
    shape: tuple[int, ...],
    subtitle: str,
    bounds: tuple[bool, str],
) -> None:
    """Two lines on the left, the colour scale on the right; ``bounds``: whether signed, and the upper end."""
    room = sheet.width - 2 * _MARGIN
    title = f"{tap.name}   {' x '.join(str(size) for size in shape)}   stride {tap.stride}"
    draw.text((_MARGIN, _MARGIN - 2), _fit(title, 19, room), font=_font(19), fill=_TEXT)
    draw.text((_MARGIN, _MARGIN + 26), _fit(subtitle, 13, room - 230), font=_font(13), fill=_FAINT)
    signed, high = bounds
    x, y = sheet.width - _MARGIN - 140 - 36, _MARGIN + 30
    sheet.paste(Image.fromarray(legend(140, 10, signed)), (x, y))
    draw.text((x - 6, y + 4), f"-{high}" if signed else "0", font=_font(11), fill=_FAINT, anchor="rm")
    draw.text((x + 146, y + 4), high, font=_font(11), fill=_FAINT, anchor="lm")


def _draw_legend(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    room: int,
    values: NDArray[np.float32],
    limit: float,
) -> None:
    x, y = corner
    signed = bool(values.min() < 0)
    width = min(320, room - 130)
    sheet.paste(Image.fromarray(legend(width, 12, signed)), (x, y))
    ticks = [(0, -limit, "ls"), (width // 2, 0.0, "ms"), (width, limit, "rs")]
    for offset, value, anchor in ticks if signed else [(0, 0.0, "ls"), (width, limit, "rs")]:
        draw.text((x + offset, y + 26), _number(value), font=_font(11), fill=_FAINT, anchor=anchor)
    text = "for the label" if not signed else "against / for"
    draw.text((x + width + 12, y + 6), text, font=_font(12), fill=_FAINT, anchor="lm")


def _peak(largest: float) -> str:
    """What stands beside a channel's number: its largest magnitude."""
    return _number(largest) if largest > 0 else "silent"


def _number(value: float) -> str:
    return "0" if value == 0 else f"{value:.3g}"


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _plain(text: str) -> str:
    """Text in the letters that Pillow's own font has: accents go, other scripts become question marks."""
    decomposed = unicodedata.normalize("NFKD", text)
    kept = "".join(char for char in decomposed if not unicodedata.combining(char))
    return "".join(char if char.isascii() and char.isprintable() else "?" for char in kept)


def _fit(text: str, size: int, room: int) -> str:
    """The text, cut with an ellipsis where it is wider than ``room`` pixels."""
    text = _plain(text)[:300]
    if _font(size).getlength(text) <= room:
        return text
    while text and _font(size).getlength(text + "...") > room:
        text = text[:-1]
    return text + "..."


def _png(sheet: Image.Image) -> bytes:
    buffer = io.BytesIO()
    # Level 4 is a third of the time of the default level 6 for a file a few per cent larger.
    sheet.save(buffer, format="PNG", compress_level=4)
    return buffer.getvalue()
