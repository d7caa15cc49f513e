"""Feature maps as tiles: one small picture for each channel, with the labels that the channel contributes to.

For a page that shows channels one by one. The colors are those of ``service.rendering.feature_grid``. Where the head
averages the layer, a channel's contribution to a label's logit is its average times the head's weight
(``service.routes.explain``); compared with the contributions to the other labels it says which label it favors.
"""

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray
from PIL import Image

from models.arrays import Floats
from models.card import Card, Tap
from models.errors import BadParameter
from service.rendering.feature_grid import coloured, strongest_channels
from service.rendering.text import png

MAX_TILES: Final = 256
"""Most channels in one answer."""
DEFAULT_TILES: Final = 24
"""Channels when the caller names none: the strongest ones."""
MOST_LABELS: Final = 5
"""Labels listed for each channel."""
_SIDES: Final = ((4, 448), (MAX_TILES, 112))
"""(up to so many tiles, most pixels of a tile's longer side); a smaller map keeps its own size."""


def tiles(
    head: Mapping[str, Any],
    maps: Sequence[tuple[Tap, Floats]],
    chosen: Sequence[Sequence[int] | None],
    card: Card,
    kernel: Floats,
) -> bytes:
    """The answer as JSON.

    Parameters
    ----------
    head: what stands beside the layers: model, version, predictions
    maps: each tap with its values (height, width, channels)
    chosen: for each tap its channels in the order of the answer, or None for the strongest
    kernel: (embedding, classes), the head's weights

    Raises
    ------
    BadParameter
        More than ``MAX_TILES`` channels.
    """
    numbers = [strongest_channels(m, DEFAULT_TILES) if n is None else n for (_, m), n in zip(maps, chosen, strict=True)]
    if (count := sum(map(len, numbers))) > MAX_TILES:
        raise BadParameter(
            f"{count} channels were asked for as tiles, over the limit of {MAX_TILES}. "
            "Choose fewer with `channels`, or ask for one picture with format=png."
        )
    side = next(side for most, side in _SIDES if count <= most)
    layers = [
        {
            "index": tap.index,
            "name": tap.name,
            "stride": tap.stride,
            "shape": values.shape,
            "tiles": _layer(tap, values, wanted, side, card, kernel),
        }
        for (tap, values), wanted in zip(maps, numbers, strict=True)
    ]
    return orjson.dumps({**head, "layers": layers}, option=orjson.OPT_SERIALIZE_NUMPY)


def _layer(
    tap: Tap, values: Floats, numbers: Sequence[int], side: int, card: Card, kernel: Floats
) -> list[dict[str, Any]]:
    drawn = np.nan_to_num(values[:, :, list(numbers)].astype(np.float64))
    pictures, _ = coloured(drawn)
    found = []
    for place, number in enumerate(numbers):
        one = drawn[:, :, place]
        row, column = np.unravel_index(int(np.abs(one).argmax()), one.shape)
        found.append(
            {
                "channel": number,
                "strength": float(np.abs(one).mean()),
                "low": float(one.min()),
                "high": float(one.max()),
                "peak": [int(row), int(column)],
                "labels": _contributions(tap, number, float(one.mean()), card, kernel),
                "png": base64.b64encode(_png(pictures[place], side)).decode(),
            }
        )
    return found


def _contributions(tap: Tap, channel: int, mean: float, card: Card, kernel: Floats) -> list[dict[str, Any]]:
    """Labels with the channel's lead for them, the largest magnitude first; none unless the head averages the layer."""
    pool = next((pool for pool in card.head.pools if pool.tap == tap.index), None)
    if pool is None:
        return []
    shares = kernel[pool.start + channel].astype(np.float64) * mean
    lead = shares - (shares.sum() - shares) / (len(shares) - 1)
    order = np.argsort(-np.abs(lead), kind="stable")[:MOST_LABELS]
    return [{"label": card.labels[index], "lead": float(lead[index])} for index in order]


def _png(pixels: NDArray[np.uint8], side: int) -> bytes:
    picture = Image.fromarray(pixels)
    longest = max(picture.size)
    if longest > side:
        width, height = (max(1, round(length * side / longest)) for length in picture.size)
        picture = picture.resize((width, height), Image.Resampling.BOX)
    return png(picture)
