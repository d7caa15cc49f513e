"""Views of a training image whose features can be cached: the image itself, its flips, and a few augmented copies.

A view of an image is the same whenever it is made, so the outputs of the frozen layers for it can be kept on disk.
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
Flip = Literal["plain", "left-right", "up-down", "both"]
FLIPS: Mapping[Mirror, tuple[Flip, ...]] = {
    "none": ("plain",),
    "horizontal": ("plain", "left-right"),
    "all": ("plain", "left-right", "up-down", "both"),
}
COPIES = 4
"""Augmented copies of each image whose features are cached, besides its flips."""
_PREVIEW_IMAGES, _PREVIEW_SIDE = 4, 112


@dataclass(frozen=True)
class AugmentedCopy:
    """One augmented copy of every image, drawn by its content, the number of the copy and the seed."""

    augmentation: Augmentation
    number: int
    seed: int

    def apply(self, images: Pixels, samples: Sequence[Sample]) -> Pixels:
        """The copies of ``images`` (batch, height, width, 3)."""
        draws = [np.random.default_rng((int(s.sha256[:15], 16), self.number, self.seed)).random(8) for s in samples]
        return self.augmentation.vary(images, np.array(draws).reshape(-1, 8))


View = Flip | AugmentedCopy


def folder_of(view: View) -> str:
    """Name of the view's folder in the cache, the same for the same pixels."""
    if not isinstance(view, AugmentedCopy):
        return view
    words = f"{view.augmentation} {view.seed}".encode()
    return f"copy-{sha256(words).hexdigest()[:12]}-{view.number}"


def apply_view(images: Pixels, samples: Sequence[Sample], view: View) -> Pixels:
    """The samples' ``images`` (batch, height, width, 3) in a view."""
    return view.apply(images, samples) if isinstance(view, AugmentedCopy) else flipped(images, view)


def flipped(images: Pixels, flip: Flip) -> Pixels:
    """Images (batch, height, width, 3), flipped."""
    rows = slice(None, None, -1 if flip in ("up-down", "both") else 1)
    columns = slice(None, None, -1 if flip in ("left-right", "both") else 1)
    return np.ascontiguousarray(images[:, rows, columns])


def flips_of(mirror: Mirror, augmentation: Augmentation) -> tuple[Flip, ...]:
    """The flips that either of the two asks for."""
    if augmentation.vertical_flip:
        return FLIPS["all"] if augmentation.flip or mirror != "none" else ("plain", "up-down")
    return FLIPS["horizontal"] if augmentation.flip and mirror == "none" else FLIPS[mirror]


def augmented_copies(augmentation: Augmentation, seed: int) -> tuple[AugmentedCopy, ...]:
    """The copies for transforms other than flips; empty where there are none."""
    if not replace(augmentation, flip=False, vertical_flip=False).active:
        return ()
    return tuple(AugmentedCopy(augmentation, number, seed) for number in range(COPIES))


def describe_augmentation(flips: Sequence[Flip], views: Sequence[View], *, from_pixels: bool) -> str:
    """How images are augmented in fine-tuning, and why."""
    if from_pixels:
        return "new variants in every epoch, since no layer is frozen"
    if len(views) == len(flips):
        return "flips only, whose features are cached"
    return (
        f"features of {len(views) - len(flips)} augmented copies of each image are cached; "
        "new variants in every epoch would have to pass through the frozen layers"
    )


def preview(samples: Sequence[Sample], size: tuple[int, int], augmentation: Augmentation, seed: int) -> bytes | None:
    """A PNG with one of the ``samples`` of each of the first classes and augmented variants; None without any."""
    if not augmentation.active:
        return None
    firsts = {sample.label: sample for sample in reversed(samples)}
    scale = min(1.0, _PREVIEW_SIDE / max(size))
    small = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    images = load_batch([firsts[label] for label in sorted(firsts)[:_PREVIEW_IMAGES]], small)
    return preview_sheet(images, augmentation, seed=seed)
