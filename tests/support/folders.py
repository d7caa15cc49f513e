"""Folders of small pictures for the tests of reading data."""

from collections.abc import Mapping
from pathlib import Path

from tests.support.images import encode, photograph


def picture(seed: int, format: str = "PNG") -> bytes:
    """A small picture; another seed, another content."""
    return encode(photograph(16, 16, seed), format)


def put(path: Path, data: bytes) -> Path:
    """Write a file, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def class_folders(root: Path, counts: Mapping[str, int], *, start: int = 0) -> Path:
    """``counts`` pictures in a folder for each class, no two alike."""
    seed = start
    for label, count in counts.items():
        for i in range(count):
            put(root / label / f"{i}.png", picture(seed))
            seed += 1
    return root
