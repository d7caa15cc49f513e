"""Letters that a plot can draw: fonts for the labels' scripts, or numbers where no installed font has them."""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from matplotlib.font_manager import fontManager, get_font

_FIRST = "DejaVu Sans"
"""Comes with matplotlib."""
_UNFIT = ("lastresort", "emoji")
"""Fonts of boxes, and of bitmaps that matplotlib cannot draw."""
_LONGEST = 24


@dataclass(frozen=True, kw_only=True)
class Lettering:
    """How labels stand in plots: ``names`` in their order, to be drawn with the font ``families``."""

    names: tuple[str, ...]
    families: tuple[str, ...]
    numbered: bool
    """Whether the names are numbers 1, 2 ... since no font has the letters; the report then lists them."""


def lettering(labels: Sequence[str]) -> Lettering:
    """Labels as they can be drawn here, long ones cut short."""
    families = families_for(labels)
    if families is None:
        numbers = tuple(str(i) for i in range(1, len(labels) + 1))
        return Lettering(names=numbers, families=(_FIRST,), numbered=True)
    return Lettering(names=_shortened(labels), families=families, numbered=False)


def families_for(texts: Iterable[str]) -> tuple[str, ...] | None:
    """Font families that together have every letter, DejaVu Sans first; None where the installed ones do not."""
    missing = {ord(letter) for text in texts for letter in text if _visible(letter)}
    families = [_FIRST]
    missing -= _letters(_path_of(_FIRST))
    while missing:
        found, family = max(((len(missing & _letters(path)), name) for path, name in _candidates()), default=(0, ""))
        if not found:
            return None
        families.append(family)
        missing -= _letters(_path_of(family))
    return tuple(families)


def _shortened(labels: Sequence[str]) -> tuple[str, ...]:
    """Cut in the middle, since names that begin alike often end differently."""
    half = _LONGEST // 2
    short = [text if len(text) <= _LONGEST else f"{text[:half]}…{text[1 - half :]}" for text in labels]
    return tuple(short)


def _visible(letter: str) -> bool:
    return unicodedata.category(letter) not in ("Cf", "Cc", "Zs")


@lru_cache
def _candidates() -> tuple[tuple[str, str], ...]:
    """(file, family) of the upright fonts of usual weight, each family once."""
    found: dict[str, str] = {}
    for entry in sorted(fontManager.ttflist, key=lambda entry: (entry.name, entry.fname)):
        usual = entry.style == "normal" and entry.weight in (400, "normal", "regular", "book")
        if usual and not any(word in entry.name.replace(" ", "").lower() for word in _UNFIT):
            found.setdefault(entry.name, entry.fname)
    return tuple((path, name) for name, path in found.items())


def _path_of(family: str) -> str:
    return next(path for path, name in _candidates() if name == family)


@lru_cache
def _letters(path: str) -> frozenset[int]:
    """The code points that a font file has a picture for; none where the file cannot be read."""
    try:
        return frozenset(get_font(path).get_charmap())
    except (OSError, RuntimeError):
        return frozenset()
