"""Folder layouts of labelled images: class folders, or train/val/test folders of class folders."""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from models.errors import BadData

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = get_args(SplitName)
SPLIT_NAMES: dict[str, SplitName] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
"""Folder names, and values of a CSV's ``split`` column, in lower case."""

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"})
_OTHER_PICTURES = frozenset({".heic", ".heif", ".avif", ".jxl", ".jp2", ".svg", ".psd", ".dng", ".cr2", ".nef"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One labelled file, not yet opened."""

    path: Path
    label: str
    weight: float = 1.0
    split: SplitName | None = None
    stratum: str = ""
    target: tuple[float, ...] | None = None
    """Probability of each label, in the order of ``Layout.labels``."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What the folders or the table say, before any image is opened; ``labels`` in the order of their indices."""

    candidates: tuple[Candidate, ...]
    labels: tuple[str, ...]
    described: str
    stratified_by: str = ""
    """The column to stratify by besides the label."""
    warnings: tuple[str, ...] = ()

    @property
    def given(self) -> frozenset[SplitName]:
        """The parts of the split that the data set defines."""
        return frozenset(c.split for c in self.candidates if c.split is not None)


def normal(text: str) -> str:
    """Text in NFC: macOS decomposes file names (NFD), other systems do not."""
    return unicodedata.normalize("NFC", text)


def order_key(path: Path, root: Path) -> tuple[str, str]:
    """Sort key that is the same on every machine and file system."""
    text = os.path.relpath(path, root).replace(os.sep, "/")
    return normal(text), text


def folder_layout(root: Path) -> Layout:
    """The images below a folder of class folders, or of train/val/test folders of class folders."""
    folders = _folders(root)
    names = {folder.name.lower() for folder in folders}
    if folders and names <= SPLIT_NAMES.keys() and any(SPLIT_NAMES[n] == "train" for n in names):
        return _split_folders(root, folders)
    candidates, ignored = _class_folders(root, folders, None)
    if not candidates:
        raise BadData(_nothing_found(root, folders))
    _refuse_empty_classes(folders, candidates)
    labels = tuple(sorted({c.label for c in candidates}))
    if len(labels) == 1:
        raise BadData(_one_class(root, folders[0]))
    warnings = _ignored_warning(ignored) + _loose_warning(root)
    return Layout(candidates=tuple(candidates), labels=labels, described="class folders", warnings=warnings)


def _split_folders(root: Path, folders: Sequence[Path]) -> Layout:
    candidates: list[Candidate] = []
    ignored: Counter[str] = Counter()
    for folder in folders:
        inside = _folders(folder)
        if not inside and any(_images(folder, Counter())):
            raise BadData(
                f"The folder {folder} holds images but no class folders. "
                f"Put the images of each class into a folder of its own, {folder.name}/LABEL/image.jpg."
            )
        found, others = _class_folders(folder, inside, SPLIT_NAMES[folder.name.lower()])
        candidates += found
        ignored += others
    labels = tuple(sorted({c.label for c in candidates if c.split == "train"}))
    if not labels:
        raise BadData(f"The training folder in {root} holds no image. Put one folder for each class into it.")
    unknown = sorted({c.label for c in candidates} - set(labels))
    if unknown:
        raise BadData(
            f"Classes without any training image: {quoted(unknown)}. "
            "Add training images of them, or remove their other folders."
        )
    if len(labels) == 1:
        raise BadData(_one_class(root, root / labels[0]))
    names = ", ".join(folder.name for folder in folders)
    return Layout(
        candidates=tuple(candidates),
        labels=labels,
        described=f"given by the folders {names}",
        warnings=_ignored_warning(ignored) + _loose_warning(root),
    )


def _class_folders(
    root: Path, folders: Sequence[Path], split: SplitName | None
) -> tuple[list[Candidate], Counter[str]]:
    ignored: Counter[str] = Counter()
    found = [
        Candidate(path=path, label=normal(folder.name), split=split)
        for folder in folders
        for path in _images(folder, ignored)
    ]
    found.sort(key=lambda c: order_key(c.path, root))
    return found, ignored


def _images(folder: Path, ignored: Counter[str]) -> Iterator[Path]:
    """Every image below a folder, at any depth; counts other files by suffix in ``ignored``."""
    for here, inside, names in os.walk(folder):
        inside[:] = [name for name in inside if not _hidden(name)]
        for name in names:
            if _hidden(name):
                continue
            suffix = Path(name).suffix.lower()
            if suffix in IMAGE_SUFFIXES:
                yield Path(here, name)
            else:
                ignored[suffix] += 1


def _folders(root: Path) -> list[Path]:
    return sorted((p for p in root.iterdir() if p.is_dir() and not _hidden(p.name)), key=lambda p: normal(p.name))


def _hidden(name: str) -> bool:
    return name.startswith((".", "__MACOSX", "@eaDir"))


def _refuse_empty_classes(folders: Sequence[Path], candidates: Sequence[Candidate]) -> None:
    filled = {c.label for c in candidates}
    empty = [folder.name for folder in folders if normal(folder.name) not in filled]
    if empty:
        raise BadData(f"Class folders without any image: {quoted(empty)}. Put images into them, or remove them.")


def _nothing_found(root: Path, folders: Sequence[Path]) -> str:
    tables = sorted(p.name for p in root.glob("*.csv"))
    if tables:
        return f"The folder {root} holds no class folders with images. Give the table: {root / tables[0]}."
    if not folders and any(_images(root, Counter())):
        return (
            f"The images in {root} are not in class folders. "
            "Put the images of each class into a folder named after the class, or give a CSV (path, label)."
        )
    return f"The folder {root} holds no image. Give a folder with one folder of images for each class, or a CSV."


def _one_class(root: Path, only: Path) -> str:
    deeper = _folders(only) if only.is_dir() else []
    if len(deeper) > 1:
        return f"The folder {root} holds only one class, '{normal(only.name)}'. Did you mean {only}?"
    return f"There is only one class, '{normal(only.name)}'. Add another: a classifier needs at least two."


def _ignored_warning(ignored: Counter[str]) -> tuple[str, ...]:
    pictures = {suffix: count for suffix, count in ignored.items() if suffix in _OTHER_PICTURES}
    if not pictures:
        return ()
    listed = ", ".join(f"{count} {suffix}" for suffix, count in sorted(pictures.items()))
    return (f"Images in unsupported formats were left out: {listed}. Convert them to JPEG or PNG.",)


def _loose_warning(root: Path) -> tuple[str, ...]:
    loose = [p for p in root.iterdir() if p.is_file() and p.suffix.lower() in IMAGE_SUFFIXES]
    loose = [p for p in loose if not _hidden(p.name)]
    if not loose:
        return ()
    return (f"{len(loose)} images outside of the class folders were left out, such as {loose[0].name}.",)


def quoted(names: Sequence[str], most: int = 5) -> str:
    """The first few names in quotes, and how many more there are."""
    listed = ", ".join(f"'{normal(name)}'" for name in names[:most])
    return listed if len(names) <= most else f"{listed} and {len(names) - most} more"
