"""Opens every file once: its hash, and whether it can be decoded to the end."""

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from models.errors import CatseyeError
from models.image.decode import DEFAULT_LIMITS, Limits, content_hash, decode

SkipKind = Literal["unreadable", "missing", "duplicate", "contradiction"]
_SMALL = (32, 32)
"""Decoding down to this reads every byte of a file, and lets a JPEG skip most of the arithmetic."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that was left out, and why, in words for people."""

    path: Path
    reason: str
    kind: SkipKind = "unreadable"


def workers() -> int:
    """Threads for reading and decoding: Pillow releases the interpreter lock, and disks like company."""
    return min(8, (os.cpu_count() or 1) + 2)


def screen(paths: Sequence[Path], *, limits: Limits = DEFAULT_LIMITS, quiet: bool = False) -> list[str | Skipped]:
    """SHA-256 of each file that can be decoded, ``Skipped`` for each that cannot; in the order of ``paths``.

    No more than one image a thread is in memory. The progress bar shows on a terminal only.
    """
    with ThreadPoolExecutor(workers()) as pool:
        results = pool.map(lambda path: _screen_one(path, limits), paths)
        return list(_shown(results, len(paths), quiet))


def _screen_one(path: Path, limits: Limits) -> str | Skipped:
    try:
        size = path.stat().st_size
        if size > limits.max_bytes:
            return Skipped(path, f"{size:,} bytes, and at most {limits.max_bytes:,} are read")
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


def _shown(results: Iterable[str | Skipped], total: int, quiet: bool) -> Iterable[str | Skipped]:
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield from results
        return
    columns = (TextColumn("reading images"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        yield from progress.track(results, total=total)
