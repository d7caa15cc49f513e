"""The ways in which a training image is shown: plain, mirrored, or as one of a few varied copies.

A view is the same for the same image, whenever and wherever it is made, so what the frozen layers say of it can
be kept on disk.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from training.config import Mirror
from training.data.augmentation import Augmentation, preview_sheet
from training.data.dataset import Sample, load_batch

Pixels = NDArray[np.uint8]
View = Literal["plain", "left-right", "up-down", "both"]
VIEWS: Mapping[Mirror, tuple[View, ...]] = {
    "none": ("plain",),
    "horizontal": ("plain", "left-right"),
    "all": ("plain", "left-right", "up-down", "both"),
}
COPIES = 4
"""Varied copies of each image whose activations are kept, beside its mirror images."""
_PREVIEW_IMAGES, _PREVIEW_SIDE = 4, 112


@dataclass(frozen=True)
class Copy:
    """One variation of every image, drawn by its content, the number of the copy and the seed."""

    augmentation: Augmentation
    number: int
    seed: int

    def show(self, images: Pixels, samples: Sequence[Sample]) -> Pixels:
        """The copies of ``images`` (batch, height, width, 3)."""
        draws = [np.random.default_rng((int(s.sha256[:15], 16), self.number, self.seed)).random(8) for s in samples]
        return self.augmentation.vary(images, np.array(draws).reshape(-1, 8))


AnyView = View | Copy


def folder_of(view: AnyView) -> str:
    """A name for a view, the same for the same pixels."""
    if not isinstance(view, Copy):
        return view
    words = f"{view.augmentation} {view.seed}".encode()
    return f"copy-{sha256(words).hexdigest()[:12]}-{view.number}"


def shown(images: Pixels, samples: Sequence[Sample], view: AnyView) -> Pixels:
    """The samples' ``images`` (batch, height, width, 3) in a view."""
    return view.show(images, samples) if isinstance(view, Copy) else mirrored(images, view)


def mirrored(images: Pixels, view: View) -> Pixels:
    """Images (batch, height, width, 3) as that view shows them."""
    rows = slice(None, None, -1 if view in ("up-down", "both") else 1)
    columns = slice(None, None, -1 if view in ("left-right", "both") else 1)
    return np.ascontiguousarray(images[:, rows, columns])


def exact_views(mirror: Mirror, augmentation: Augmentation) -> tuple[View, ...]:
    """The mirror images that either of the two asks for: of them alone the pixels need no resampling."""
    if augmentation.vertical_flip:
        return VIEWS["all"] if augmentation.flip or mirror != "none" else ("plain", "up-down")
    return VIEWS["horizontal"] if augmentation.flip and mirror == "none" else VIEWS[mirror]


def varied_copies(augmentation: Augmentation, seed: int) -> tuple[Copy, ...]:
    """The copies that moves other than exact mirroring need; empty where there are none."""
    if not replace(augmentation, flip=False, vertical_flip=False).active:
        return ()
    return tuple(Copy(augmentation, number, seed) for number in range(COPIES))


def how_varied(exact: Sequence[View], views: Sequence[AnyView], *, at_pixels: bool) -> str:
    """Which way varied images take in phase 2, and why, in words."""
    if at_pixels:
        return "varied anew in every epoch, since every image goes through the whole network anyway"
    if len(views) == len(exact):
        return "mirror images are exact, so activations of each are kept"
    return (
        f"activations of {len(views) - len(exact)} varied copies of each image are kept, since new variants in every "
        "epoch would have to go through the frozen layers each time"
    )


def preview(samples: Sequence[Sample], size: tuple[int, int], augmentation: Augmentation, seed: int) -> bytes | None:
    """A PNG with one of the ``samples`` of each of the first classes, as it is and varied; None without moves."""
    if not augmentation.active:
        return None
    firsts = {sample.label: sample for sample in reversed(samples)}
    scale = min(1.0, _PREVIEW_SIDE / max(size))
    small = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    images = load_batch([firsts[label] for label in sorted(firsts)[:_PREVIEW_IMAGES]], small)
    return preview_sheet(images, augmentation, seed=seed)
