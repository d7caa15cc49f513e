"""Feature maps as an answer: which layers and channels, and the bytes as JSON, npz or PNG."""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import orjson
from numpy.typing import NDArray

from models.arrays import Floats
from models.card import Card, Tap
from models.errors import BadParameter, UnknownLayer
from service.rendering.feature_grid import DEFAULT_TILES, Layer, feature_grids, strongest_channels

MapFormat = Literal["json", "npz", "png"]

MEDIA_TYPES: Final[dict[MapFormat, str]] = {
    "json": "application/json",
    "npz": "application/x-npz",
    "png": "image/png",
}
MAX_NUMBERS: Final[dict[MapFormat, int]] = {"json": 1_000_000, "npz": 8_000_000, "png": 64_000_000}
"""Most numbers in one answer: some 10 MB of JSON, at most 32 MB of npz."""
_PART: Final = r" *[0-9]{1,7} *(- *[0-9]{1,7} *)?"
CHANNELS_PATTERN: Final = rf"^(all|strongest(: *[0-9]{{1,7}} *)?|{_PART}(,{_PART})*)$"
"""How ``channels`` is written."""
_MOST_ITEMS: Final = 4096


@dataclass(frozen=True)
class Channels:
    """Which channels of a layer are wanted: those numbers, the strongest so many, or (neither) all."""

    numbers: tuple[int, ...] | None = None
    strongest: int | None = None

    def of(self, maps: NDArray[np.floating], tap: Tap) -> list[int]:
        """The channels of (height, width, channels) maps, in the order of the answer."""
        available = maps.shape[2]
        if self.strongest is not None:
            return strongest_channels(maps, self.strongest)
        if self.numbers is None:
            return list(range(available))
        wrong = [number for number in self.numbers if number >= available]
        if wrong:
            raise BadParameter(f"Layer {tap.name} has no channel {wrong[0]}. Choose from 0 to {available - 1}.")
        return list(self.numbers)


def find_taps(card: Card, layers: Sequence[str]) -> list[Tap]:
    """The taps of those names or indices, in that order; without any, the last (the deepest) one."""
    if not card.taps:
        raise UnknownLayer(f"Model {card.name} has no feature maps. Ask a model with a convolutional backbone.")
    if not layers:
        return [card.taps[-1]]
    by_key = {tap.name: tap for tap in card.taps} | {str(tap.index): tap for tap in card.taps}
    for layer in layers:
        if layer not in by_key:
            known = ", ".join(f"{tap.index} ({tap.name})" for tap in card.taps)
            raise UnknownLayer(f"Model {card.name} has no layer {layer[:80]!r}. It has {known}.")
    return list({by_key[layer].index: by_key[layer] for layer in layers}.values())


def parse_channels(text: str | None) -> Channels:
    """``all``, ``strongest:8``, or numbers and ranges such as ``0,3,8-15``."""
    if text is None or text == "all":
        return Channels()
    if not re.fullmatch(CHANNELS_PATTERN, text):
        raise _bad_channels(text)
    word, _, count = text.partition(":")
    if word == "strongest":
        if (strongest := int(count or DEFAULT_TILES)) < 1:
            raise _bad_channels(text)
        return Channels(strongest=strongest)
    numbers: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        start, stop = int(first), int(last or first)
        if not 0 <= stop - start < _MOST_ITEMS or len(numbers) > _MOST_ITEMS:
            raise _bad_channels(text)
        numbers.extend(range(start, stop + 1))
    return Channels(numbers=tuple(dict.fromkeys(numbers)))


def check_size(taps: Sequence[Tap], channels: Channels, format: MapFormat) -> None:
    """Refuse an answer over the limit, before anything is computed."""
    total = 0
    for tap in taps:
        height, width, available = tap.shape
        wanted = channels.strongest or (available if channels.numbers is None else len(channels.numbers))
        total += height * width * min(wanted, available)
    if total > MAX_NUMBERS[format]:
        more = "" if format == "npz" else f", or format=npz (up to {MAX_NUMBERS['npz']:,})"
        raise BadParameter(
            f"The answer would have {total:,} numbers, over the limit of {MAX_NUMBERS[format]:,}. "
            f"Ask for fewer layers with `layer`, for fewer channels with `channels=strongest:8`{more}."
        )


def render(
    head: Mapping[str, Any],
    maps: Sequence[tuple[Tap, Floats]],
    channels: Channels,
    format: MapFormat,
    image: NDArray[np.uint8] | None = None,
) -> bytes:
    """The answer's bytes.

    Parameters
    ----------
    head: the other members of the JSON: model, version, predictions
    maps: each tap with its values (height, width, channels)
    image: (height, width, 3), the first tile of a picture
    """
    if format == "png":
        # By default a picture shows the strongest channels, since all 1,280 would be too many.
        default = channels == Channels()
        layers = [Layer(maps=m, tap=tap, channels=None if default else channels.of(m, tap)) for tap, m in maps]
        return feature_grids(layers, image=image)
    chosen = [(tap, numbers := channels.of(m, tap), m[:, :, numbers]) for tap, m in maps]
    return _npz(chosen) if format == "npz" else _json(head, chosen)


def _json(head: Mapping[str, Any], chosen: Sequence[tuple[Tap, list[int], Floats]]) -> bytes:
    layers = [
        {
            "index": tap.index,
            "name": tap.name,
            "stride": tap.stride,
            "shape": values.shape,
            "channels": numbers,
            "values": np.ascontiguousarray(values),
        }
        for tap, numbers, values in chosen
    ]
    return orjson.dumps({**head, "layers": layers}, option=orjson.OPT_SERIALIZE_NUMPY)


def _npz(chosen: Sequence[tuple[Tap, list[int], Floats]]) -> bytes:
    """An array (height, width, channels) under each layer's name; ``<name>.channels`` holds their numbers."""
    arrays: dict[str, NDArray[Any]] = {}
    for tap, numbers, values in chosen:
        arrays[tap.name] = values
        arrays[f"{tap.name}.channels"] = np.asarray(numbers, np.int64)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _bad_channels(text: str) -> BadParameter:
    return BadParameter(
        f"`channels` is {text[:80]!r}. Give numbers and ranges as in `0,3,8-15`, or `strongest:8`, or `all`."
    )
