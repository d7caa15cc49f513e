"""Feature maps as a picture: a grid of labelled tiles.

Colors follow ``service.rendering.colormap``: black is zero, warm is positive, cold is negative. Each channel is scaled
by its own largest magnitude, so that every filter's pattern shows. The largest magnitude is the 99.5th percentile, so
that one outlier does not darken a map. In a layer without negative values black is each channel's own lowest value,
which the label then gives.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from models.card import Tap
from models.errors import BadParameter
from service.rendering.colormap import colour, legend
from service.rendering.text import BACKGROUND, FAINT, GAP, MARGIN, TEXT, fit, font, png

MAX_TILES: Final = 1024
"""Most channels on one picture."""
DEFAULT_TILES: Final = 64
"""Channels drawn when the caller names none: the strongest ones."""

_LABEL: Final = 16
_SHEET_WIDTH: Final = 1280
_PERCENTILE: Final = 99.5
_FLAT: Final = 1e-3
"""A channel whose values differ by less than this share of the largest says the same everywhere."""
_TILE_SIDES: Final = ((4, 400), (12, 240), (32, 150), (128, 112), (512, 72), (MAX_TILES + 1, 48))
"""(up to so many tiles, pixels of a tile's longer side)."""


def strongest_channels(maps: NDArray[np.floating], count: int) -> list[int]:
    """The ``count`` channels of (h, w, c) maps with the largest mean magnitude, strongest first."""
    strength = np.abs(maps).mean(axis=(0, 1))
    # A stable sort keeps equal channels in the layer's own order, so that the picture does not flicker.
    return [int(index) for index in np.argsort(-strength, kind="stable")[:count]]


def coloured(drawn: NDArray[np.float64]) -> tuple[list[NDArray[np.uint8]], NDArray[np.float64]]:
    """A (height, width, 3) picture for each channel of (height, width, channels), and the value that is black in it."""
    limits = _limits(drawn)
    lows = np.zeros_like(limits) if drawn.min() < 0 else _lows(drawn, limits)
    places = range(drawn.shape[2])
    return [colour(drawn[:, :, i] - lows[i], float(limits[i] - lows[i])) for i in places], lows


@dataclass(frozen=True, kw_only=True)
class Layer:
    """The maps of one layer, and which of its channels to draw."""

    maps: NDArray[np.floating]
    """(height, width, channels) of the whole layer."""
    tap: Tap
    channels: Sequence[int] | None = None
    """In the order of drawing, at least one; default the strongest ones."""


def feature_grids(layers: Sequence[Layer], *, image: NDArray[np.uint8] | None = None) -> bytes:
    """PNG of several layers' grids, one below the other, each under a title with its name, shape and stride.

    Parameters
    ----------
    layers: what to draw; the limit on tiles holds for all together
    image: (height, width, 3), drawn as the first tile of each grid, to compare with

    Raises
    ------
    BadParameter
        More than ``MAX_TILES`` channels.
    """
    if sum(len(layer.channels or ()) for layer in layers) > MAX_TILES:
        raise BadParameter(f"More than {MAX_TILES} channels do not fit on one picture. Choose fewer with `channels`.")
    sheets = [_grid(layer, image) for layer in layers]
    size = max(sheet.width for sheet in sheets), sum(sheet.height for sheet in sheets)
    whole, y = Image.new("RGB", size, BACKGROUND), 0
    for sheet in sheets:
        whole.paste(sheet, (0, y))
        y += sheet.height
    return png(whole)


def _grid(layer: Layer, image: NDArray[np.uint8] | None) -> Image.Image:
    maps, channels = layer.maps, layer.channels
    if channels is None:
        channels = strongest_channels(maps, DEFAULT_TILES - (image is not None))
    drawn = np.nan_to_num(maps[:, :, list(channels)].astype(np.float64))
    tiles, lows = coloured(drawn)
    peaks, spans = np.abs(drawn).max(axis=(0, 1)), np.ptp(drawn, axis=(0, 1))
    labels = [
        (str(channel), _range(float(low), float(peak), float(span)))
        for channel, low, peak, span in zip(channels, lows, peaks, spans, strict=True)
    ]
    if image is not None:
        tiles, labels = [image, *tiles], [("input", ""), *labels]
    sheet, draw = _tiled(tiles, labels, _tile_size(drawn.shape[0], drawn.shape[1], len(tiles)))
    which = _which(len(channels), maps.shape[2], strongest_first=layer.channels is None)
    _grid_title(sheet, draw, layer.tap, maps.shape, which, signed=bool(drawn.min() < 0))
    return sheet


def _limits(drawn: NDArray[np.float64]) -> NDArray[np.float64]:
    """The magnitude that gets the brightest color, for each channel."""
    magnitude = np.abs(drawn)
    limits: NDArray[np.float64] = np.percentile(magnitude, _PERCENTILE, axis=(0, 1))
    # A map that is zero nearly everywhere has a percentile of zero, but is not empty.
    return np.where(limits > 0, limits, magnitude.max(axis=(0, 1)))


def _lows(drawn: NDArray[np.float64], limits: NDArray[np.float64]) -> NDArray[np.float64]:
    """The value that is black, for each channel without negative values: its lowest.

    A filter that answers 4 everywhere and 5 at edges would otherwise be a bright square. The range is at least a
    tenth of the magnitude, so that a constant does not become noise.
    """
    lowest: NDArray[np.float64] = np.percentile(drawn, 100 - _PERCENTILE, axis=(0, 1))
    return np.minimum(lowest, 0.9 * limits)


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
    """A sheet with all tiles under their labels, and space for the title above."""
    height, width = size
    columns = _columns(len(tiles), (_SHEET_WIDTH - 2 * MARGIN + GAP) // (width + GAP))
    rows = -(-len(tiles) // columns)
    top = MARGIN + 64
    sheet_width = max(2 * MARGIN + columns * (width + GAP) - GAP, 640)
    sheet = Image.new("RGB", (sheet_width, top + rows * (height + _LABEL + GAP) + MARGIN), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for place, (tile, (name, note)) in enumerate(zip(tiles, labels, strict=True)):
        row, column = divmod(place, columns)
        x, y = MARGIN + column * (width + GAP), top + row * (height + _LABEL + GAP)
        sheet.paste(_resized(tile, height, width), (x, y + _LABEL))
        draw.text((x, y + 13), name, font=font(11), fill=TEXT, anchor="ls")
        if width >= 72:
            draw.text((x + width, y + 13), note, font=font(11), fill=FAINT, anchor="rs")
    return sheet, draw


def _columns(count: int, most: int) -> int:
    """Columns, at least two thirds of ``most``, that leave the fewest empty cells in the last row."""
    most = max(1, most)
    if count <= most:
        return count
    return min(range(most, most * 2 // 3, -1), key=lambda columns: -count % columns)


def _resized(tile: NDArray[np.uint8], height: int, width: int) -> Image.Image:
    picture = Image.fromarray(tile)
    grows = height >= tile.shape[0] and width >= tile.shape[1]
    # Enlarged maps keep their square cells, since those are the network's true resolution.
    return picture.resize((width, height), Image.Resampling.NEAREST if grows else Image.Resampling.BOX)


def _which(count: int, available: int, *, strongest_first: bool) -> str:
    """The second line of a grid: which channels are on it."""
    if count == available:
        return f"all {count} channels{', strongest first' if strongest_first else ''}, each on its own scale"
    chosen = f"the {count} strongest" if strongest_first else str(count)
    return f"{chosen} of {available} channels, each on its own scale"


def _grid_title(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, tap: Tap, shape: tuple[int, ...], subtitle: str, *, signed: bool
) -> None:
    """Two lines on the left, the color scale on the right."""
    width = sheet.width - 2 * MARGIN
    title = f"{tap.name}   {' x '.join(str(size) for size in shape)}   stride {tap.stride}"
    draw.text((MARGIN, MARGIN - 2), fit(title, 19, width), font=font(19), fill=TEXT)
    draw.text((MARGIN, MARGIN + 26), fit(subtitle, 13, width - 230), font=font(13), fill=FAINT)
    x, y = sheet.width - MARGIN - 140 - 36, MARGIN + 30
    sheet.paste(Image.fromarray(legend(140, 10, signed)), (x, y))
    draw.text((x - 6, y + 4), "-max" if signed else "min", font=font(11), fill=FAINT, anchor="rm")
    draw.text((x + 146, y + 4), "max", font=font(11), fill=FAINT, anchor="lm")


def _range(lowest: float, largest: float, span: float) -> str:
    """The text beside a channel's number: its largest magnitude, or its range."""
    if largest == 0:
        return "silent"
    if span < _FLAT * largest:
        return f"flat {largest:.3g}"
    return f"{largest:.3g}" if lowest < 0.005 * largest else f"{lowest:.2g} - {largest:.2g}"
