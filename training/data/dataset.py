"""A folder or table of labelled images: read once, checked, and divided into train, validation and test.

Rules for every layout:

* Files with the same content (by SHA-256) are in one part of the split only.
* An image that has two labels is used for training only, under both labels; a warning names it.
* The split depends on content, label and seed alone: not on file names, their order, or the machine.
* Only paths and hashes are kept in memory; pixels come from ``load_batch``.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from models.card import DataFingerprint, Split
from models.errors import BadData, BadParameter
from models.image.decode import DEFAULT_LIMITS, Limits
from training.data.csv_table import table_layout
from training.data.layouts import SPLITS, Layout, SplitName, folder_layout, normal, quoted
from training.data.loader import Sample, labels_of, load_batch, load_one, targets_of, weights_of
from training.data.split import Group, split_groups
from training.data.validate import Skipped, validate_files

__all__ = [
    "DEFAULT_FRACTIONS",
    "Dataset",
    "Fractions",
    "Sample",
    "Skipped",
    "labels_of",
    "load_batch",
    "load_one",
    "read_dataset",
    "targets_of",
    "weights_of",
]

MOST_UNREADABLE = 0.05
"""Fraction of unreadable files above which the data set is refused: more than this suggests a broken copy."""


@dataclass(frozen=True, kw_only=True)
class Fractions:
    """Fractions of all images that are held out; the rest is for training."""

    validation: float = 0.15
    test: float = 0.15

    def __post_init__(self) -> None:
        if min(self.validation, self.test) < 0 or self.validation + self.test >= 1:
            raise BadParameter(
                f"The fractions are {self.validation} validation and {self.test} test. "
                "Give shares of at least 0 that leave some images to train on."
            )


DEFAULT_FRACTIONS = Fractions()


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Labelled images with their split; ``labels`` in the order of the network's outputs."""

    labels: tuple[str, ...]
    samples: tuple[Sample, ...]
    skipped: tuple[Skipped, ...]
    warnings: tuple[str, ...]
    fingerprint: DataFingerprint
    split: Split

    @cached_property
    def train(self) -> tuple[Sample, ...]:
        """For fitting the weights."""
        return self._part("train")

    @cached_property
    def validation(self) -> tuple[Sample, ...]:
        """For early stopping and calibration; may be empty."""
        return self._part("validation")

    @cached_property
    def test(self) -> tuple[Sample, ...]:
        """For the final metrics; may be empty."""
        return self._part("test")

    def _part(self, name: SplitName) -> tuple[Sample, ...]:
        return tuple(sample for sample in self.samples if sample.split == name)


def read_dataset(
    path: Path,
    *,
    seed: int = 0,
    fractions: Fractions = DEFAULT_FRACTIONS,
    test_size: int | None = None,
    stratify: str | None = None,
    limits: Limits = DEFAULT_LIMITS,
    allow_unreadable: bool = False,
    quiet: bool = False,
) -> Dataset:
    """Read class folders, train/val/test folders of class folders, or a CSV, and open every file once.

    ``test_size`` is an exact number of test images, instead of ``fractions.test``. ``stratify`` names a CSV
    column to stratify by besides the label. Parts of the split that the data set defines are kept; the others are
    split off the training images. Raises ``BadData``, which says what to do.
    """
    layout = _layout(path, stratify)
    results = validate_files([c.path for c in layout.candidates], limits=limits, quiet=quiet)
    skipped = [result for result in results if isinstance(result, Skipped)]
    _refuse_broken(skipped, len(results), allow_unreadable)
    index = {label: i for i, label in enumerate(layout.labels)}
    samples = [
        Sample(
            path=c.path,
            label=index[c.label],
            sha256=result,
            split=c.split or "train",
            weight=c.weight,
            target=c.target,
            stratum=c.stratum,
        )
        for c, result in zip(layout.candidates, results, strict=True)
        if isinstance(result, str)
    ]
    _refuse_small(samples, layout.labels, skipped)
    contradictions = _contradictions(samples)
    warnings = [
        *layout.warnings,
        *_unreadable_warning(skipped),
        *_copy_warnings(samples, contradictions, layout),
    ]
    samples, left_out = _one_part_each(samples, contradictions)
    skipped += left_out
    samples = _divide(samples, contradictions, layout, fractions, test_size, seed)
    warnings += _part_warnings(samples, layout.labels)
    return Dataset(
        labels=layout.labels,
        samples=tuple(samples),
        skipped=tuple(skipped),
        warnings=tuple(warnings),
        fingerprint=_fingerprint(path, samples, layout.labels, len(skipped)),
        split=_split_card(samples, layout, seed),
    )


def _layout(path: Path, stratify: str | None) -> Layout:
    if path.is_dir():
        if stratify is not None:
            raise BadParameter(f"Folders have no column '{stratify}' to stratify by. Give a CSV that has it.")
        return folder_layout(path)
    if path.is_file():
        if path.suffix.lower() not in {".csv", ".tsv", ".txt"}:
            raise BadData(f"{path} is not a folder or a CSV. Give a folder of class folders, or a CSV (path, label).")
        return table_layout(path, stratify=stratify)
    raise BadData(f"There is nothing at {path}. Give a folder of class folders, or a CSV (path, label).")


def _refuse_broken(skipped: Sequence[Skipped], total: int, allow: bool) -> None:
    if len(skipped) == total:
        raise BadData(f"None of the {total} files can be read: {_listed(skipped, 3)}. Check the path and the files.")
    if len(skipped) > MOST_UNREADABLE * total and not allow:
        raise BadData(
            f"{len(skipped)} of {total} files cannot be read, more than {MOST_UNREADABLE:.0%}: "
            f"{_listed(skipped, 5)}. "
            "Repair or remove them, or continue without them: --allow-unreadable."
        )


def _listed(skipped: Sequence[Skipped], most: int) -> str:
    listed = ", ".join(f"{normal(s.path.name)} ({s.reason})" for s in skipped[:most])
    return listed if len(skipped) <= most else f"{listed} and {len(skipped) - most} more"


def _refuse_small(samples: Sequence[Sample], labels: Sequence[str], skipped: Sequence[Skipped]) -> None:
    contents: defaultdict[int, set[str]] = defaultdict(set)
    for sample in samples:
        contents[sample.label].add(sample.sha256)
    small = [label for i, label in enumerate(labels) if len(contents[i]) < 2]
    if small:
        broken = " once unreadable files are left out" if skipped else ""
        raise BadData(
            f"Classes with fewer than two different images{broken}: {quoted(small)}. "
            "Add images (at least two: one to train on, one to test on), or remove the class."
        )


def _contradictions(samples: Sequence[Sample]) -> set[str]:
    """Hashes of images that have more than one label."""
    seen: defaultdict[str, set[int]] = defaultdict(set)
    for sample in samples:
        seen[sample.sha256].add(sample.label)
    return {sha256 for sha256, labels in seen.items() if len(labels) > 1}


def _one_part_each(samples: Sequence[Sample], contradictions: set[str]) -> tuple[list[Sample], list[Skipped]]:
    """Each content in one part: copies in train or validation are dropped for one in validation or test."""
    strictest: dict[str, SplitName] = {}
    for sample in samples:
        known = strictest.get(sample.sha256, "train")
        strictest[sample.sha256] = max(known, sample.split, key=SPLITS.index)
    kept: list[Sample] = []
    left_out: list[Skipped] = []
    for sample in samples:
        if sample.sha256 in contradictions:
            if sample.split == "train":
                kept.append(sample)
            else:
                left_out.append(Skipped(sample.path, "the same image also has another label", "contradiction"))
        elif sample.split == strictest[sample.sha256]:
            kept.append(sample)
        else:
            part = strictest[sample.sha256]
            left_out.append(Skipped(sample.path, f"the same image is in the {part} part", "duplicate"))
    return kept, left_out


def _divide(
    samples: Sequence[Sample],
    contradictions: set[str],
    layout: Layout,
    fractions: Fractions,
    test_size: int | None,
    seed: int,
) -> list[Sample]:
    """The samples, with the parts that the data set does not define split off the training samples."""
    total = len(samples)
    test = round(fractions.test * total) if test_size is None else test_size
    if test_size is not None and not 0 < test_size < total:
        raise BadParameter(f"The test size is {test_size} of {total} images. Leave some for training.")
    test = 0 if "test" in layout.given else test
    validation = 0 if "validation" in layout.given else round(fractions.validation * total)
    free = [s for s in samples if s.split == "train" and s.sha256 not in contradictions]
    parts = split_groups(_groups(free), validation=validation, test=test, seed=seed)
    return [replace(s, split=parts.get(s.sha256, s.split)) for s in samples]


def _groups(samples: Sequence[Sample]) -> list[Group]:
    sizes = Counter(sample.sha256 for sample in samples)
    firsts = {sample.sha256: sample for sample in reversed(samples)}
    return [Group(sha256=h, label=s.label, stratum=s.stratum, size=sizes[h]) for h, s in firsts.items()]


def _unreadable_warning(skipped: Sequence[Skipped]) -> list[str]:
    return [f"{len(skipped)} files cannot be read and were left out: {_listed(skipped, 5)}."] if skipped else []


def _copy_warnings(samples: Sequence[Sample], contradictions: set[str], layout: Layout) -> list[str]:
    names: defaultdict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        names[sample.sha256].append(sample)
    warnings: list[str] = []
    copies = sum(len(found) - 1 for found in names.values())
    if copies:
        warnings.append(f"{copies} files are exact copies of another file; copies are kept in one part of the split.")
    for sha256 in sorted(contradictions)[:10]:
        found = ", ".join(f"{normal(s.path.name)} as '{layout.labels[s.label]}'" for s in names[sha256])
        warnings.append(f"One image has several labels and is used for training only: {found}.")
    if len(contradictions) > 10:
        warnings.append(f"{len(contradictions) - 10} more images have several labels.")
    return warnings


def _part_warnings(samples: Sequence[Sample], labels: Sequence[str]) -> list[str]:
    """Classes that a part of the split lacks."""
    warnings: list[str] = []
    for part in SPLITS:
        present = {sample.label for sample in samples if sample.split == part}
        absent = [label for i, label in enumerate(labels) if i not in present]
        if absent and present:
            warnings.append(f"No {part} image of {quoted(absent)}: add images of these classes.")
    return warnings


def _fingerprint(path: Path, samples: Sequence[Sample], labels: Sequence[str], skipped: int) -> DataFingerprint:
    digest = hashlib.sha256()
    for label, sha256 in sorted((labels[s.label], s.sha256) for s in samples):
        digest.update(f"{label}\0{sha256}\n".encode())
    counts = Counter(sample.label for sample in samples)
    return DataFingerprint(
        name=normal(path.resolve().stem if path.is_file() else path.resolve().name),
        images=len(samples),
        classes={label: counts[i] for i, label in enumerate(labels)},
        sha256=digest.hexdigest(),
        skipped=skipped,
    )


def _split_card(samples: Sequence[Sample], layout: Layout, seed: int) -> Split:
    missing = [part for part in SPLITS[1:] if part not in layout.given]
    by = f"class and {layout.stratified_by}" if layout.stratified_by else "class"
    how = f"stratified by {by}, copies kept together"
    if not layout.given:
        method = f"{layout.described}; {how}"
    else:
        method = layout.described + (f"; {' and '.join(missing)} split off train, {how}" if missing else "")
    counts = Counter(sample.split for sample in samples)
    return Split(method=method, seed=seed, train=counts["train"], validation=counts["validation"], test=counts["test"])
