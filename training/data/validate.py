"""Validation of image files: each is opened once, hashed, and decoded to the end."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.progress import track

from models.errors import CatseyeError
from models.image.decode import DEFAULT_LIMITS, Limits, content_hash, decode

SkipKind = Literal["unreadable", "missing", "duplicate", "contradiction"]
_SMALL = (32, 32)
"""Decoding to this size reads the whole file, but skips most of a JPEG's arithmetic."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that was left out, and the reason for people to read."""

    path: Path
    reason: str
    kind: SkipKind = "unreadable"


def decode_threads() -> int:
    """Threads for reading and decoding, more than processors: Pillow releases the GIL, and reads overlap."""
    return min(8, (os.cpu_count() or 1) + 2)


def validate_files(
    paths: Sequence[Path], *, limits: Limits = DEFAULT_LIMITS, quiet: bool = False
) -> list[str | Skipped]:
    """SHA-256 of each file that can be decoded, ``Skipped`` for each that cannot; in the order of ``paths``.

    At most one image per thread is in memory. The progress bar is shown on a terminal only.
    """
    console = Console(stderr=True)
    with ThreadPoolExecutor(decode_threads()) as pool:
        results = pool.map(lambda path: _validate_one(path, limits), paths)
        hidden = quiet or not console.is_terminal
        return list(track(results, "reading images", len(paths), console=console, transient=True, disable=hidden))


def _validate_one(path: Path, limits: Limits) -> str | Skipped:
    try:
        size = path.stat().st_size
        if size > limits.max_bytes:
            return Skipped(path, f"{size:,} bytes, more than the limit of {limits.max_bytes:,}")
        data = path.read_bytes()
    except FileNotFoundError:
        return Skipped(path, "no such file", "missing")
    except (OSError, ValueError) as error:
        return Skipped(path, f"cannot be opened: {getattr(error, 'strerror', None) or error}")
    if not data:
        return Skipped(path, "the file is empty")
    try:
        decode(data, _SMALL, limits)
    except CatseyeError as error:
        return Skipped(path, error.detail.split(". ", 1)[0].rstrip("."))
    return content_hash(data)
