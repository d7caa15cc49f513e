"""Fonts for class labels in plots; numbers instead of labels where no installed font has their letters."""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from matplotlib.font_manager import fontManager, get_font

_FIRST = "DejaVu Sans"
"""Comes with matplotlib."""
_EXCLUDED = ("lastresort", "emoji")
"""Fonts of placeholder boxes, and of bitmaps that matplotlib cannot draw."""
_LONGEST = 24


@dataclass(frozen=True, kw_only=True)
class PlotLabels:
    """Labels as a plot can draw them: ``names`` in the labels' order, in the font ``families``."""

    names: tuple[str, ...]
    families: tuple[str, ...]
    numbered: bool
    """Whether the names are the numbers 1, 2 ..., which the report lists, since no font has the letters."""


def plot_labels(labels: Sequence[str]) -> PlotLabels:
    """Labels as they can be drawn on this machine, long ones shortened."""
    families = families_for(labels)
    if families is None:
        numbers = tuple(str(i) for i in range(1, len(labels) + 1))
        return PlotLabels(names=numbers, families=(_FIRST,), numbered=True)
    return PlotLabels(names=_shortened(labels), families=families, numbered=False)


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
    """Shortened in the middle, since names with the same beginning often end differently."""
    half = _LONGEST // 2
    return tuple(text if len(text) <= _LONGEST else f"{text[:half]}…{text[1 - half :]}" for text in labels)


def _visible(letter: str) -> bool:
    return unicodedata.category(letter) not in ("Cf", "Cc", "Zs")


@lru_cache
def _candidates() -> tuple[tuple[str, str], ...]:
    """(file, family) of the upright fonts of usual weight, each family once."""
    found: dict[str, str] = {}
    for entry in sorted(fontManager.ttflist, key=lambda entry: (entry.name, entry.fname)):
        usual = entry.style == "normal" and entry.weight in (400, "normal", "regular", "book")
        if usual and not any(word in entry.name.replace(" ", "").lower() for word in _EXCLUDED):
            found.setdefault(entry.name, entry.fname)
    return tuple((path, name) for name, path in found.items())


def _path_of(family: str) -> str:
    return next(path for path, name in _candidates() if name == family)


@lru_cache
def _letters(path: str) -> frozenset[int]:
    """The code points that a font file has; none where it cannot be read."""
    try:
        return frozenset(get_font(path).get_charmap())
    except (OSError, RuntimeError):
        return frozenset()
