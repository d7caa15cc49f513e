"""Split into train, validation and test: stratified, by content, the same on every machine."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from training.data.layouts import SplitName


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Files with the same content, which stay in one part of the split."""

    sha256: str
    label: int
    stratum: str
    size: int


def apportion(total: int, sizes: Sequence[int], least: int = 0) -> list[int]:
    """Divide ``total`` in proportion to ``sizes`` (largest remainder method); each count is within [least, size].

    Ties go to the earlier entry. The counts sum to ``total``, unless the minimum counts alone sum to more.
    """
    whole = sum(sizes)
    total = min(total, whole)
    exact = [total * size / whole if whole else 0.0 for size in sizes]
    minimum = [min(least, size) for size in sizes]
    counts = [max(low, int(share)) for low, share in zip(minimum, exact, strict=True)]
    while sum(counts) < total:
        i = max(range(len(sizes)), key=lambda i: (counts[i] < sizes[i], exact[i] - counts[i], -i))
        counts[i] += 1
    while sum(counts) > max(total, sum(minimum)):
        i = max(range(len(sizes)), key=lambda i: (counts[i] > minimum[i], counts[i] - exact[i], -i))
        counts[i] -= 1
    return counts


def draw(groups: Sequence[Group], total: int, *, seed: int) -> set[str]:
    """Hashes of the groups to hold out: ``total`` images, in proportion to class and stratum.

    Of every class with more than one group at least one is held out and at least one is kept. The count is exact
    unless files have copies or a class is too small.
    """
    if total <= 0:
        return set()
    classes = _by(groups, lambda group: str(group.label))
    spare = [sum(g.size for g in members) if len(members) > 1 else 0 for members in classes]
    quotas = apportion(total, spare, 1)
    drawn: set[str] = set()
    for members, quota in zip(classes, quotas, strict=True):
        drawn |= _draw_from_class(members, quota, seed)
    return drawn


def _draw_from_class(members: Sequence[Group], quota: int, seed: int) -> set[str]:
    strata = _by(members, lambda group: group.stratum)
    shares = apportion(quota, [sum(g.size for g in inside) for inside in strata])
    drawn: list[Group] = []
    for inside, share in zip(strata, shares, strict=True):
        for group in sorted(inside, key=lambda g: _draw_key(g.sha256, seed)):
            if group.size <= share and len(drawn) < len(members) - 1:
                drawn.append(group)
                share -= group.size
    if not drawn and quota:
        drawn.append(min(members, key=lambda g: (g.size, _draw_key(g.sha256, seed))))
    return {group.sha256 for group in drawn}


def split_groups(groups: Sequence[Group], *, validation: int, test: int, seed: int) -> dict[str, SplitName]:
    """The part of each group by its hash; ``validation`` and ``test`` are numbers of images.

    A class of three has one in each part; a class of two has one in train and one in test.
    """
    parts: dict[str, SplitName] = {group.sha256: "train" for group in groups}
    free = list(groups)
    wanted: tuple[tuple[SplitName, int], ...] = (("test", test), ("validation", validation))
    for part, total in wanted:
        drawn = draw(free, total, seed=seed)
        parts.update(dict.fromkeys(drawn, part))
        free = [group for group in free if group.sha256 not in drawn]
    return parts


def _draw_key(sha256: str, seed: int) -> str:
    """Position in the random order; it depends on content and seed alone."""
    return hashlib.sha256(f"{seed}:{sha256}".encode()).hexdigest()


def _by(groups: Iterable[Group], key: Callable[[Group], str]) -> list[list[Group]]:
    found: defaultdict[str, list[Group]] = defaultdict(list)
    for group in groups:
        found[key(group)].append(group)
    return [found[name] for name in sorted(found)]
