"""A folder with the results of a large run, in shards, which knows what is left to do.

``run.json`` holds the terms of the run, and ``files`` lists its images, each name ended by a zero byte. Each shard has
a table, ``part-000000.jsonl`` (or ``.csv``) and so on, in the order of the list. A table appears whole or not at all,
so a run that was killed goes on with the shards that have none. At the end, ``errors.jsonl`` lists the images without
an answer, and why.
"""

import csv
import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final, Literal

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from models.errors import BadParameter
from models.files import disk_errors, replace_whole, write_whole

TERMS_FILE: Final = "run.json"
LIST_FILE: Final = "files"
ERRORS_FILE: Final = "errors.jsonl"
_LOCK_FILE: Final = ".lock"


class Terms(BaseModel):
    """Everything that the answers of a run depend on. A run goes on with the same terms only."""

    model_config = ConfigDict(frozen=True)

    model: str
    version: str
    runtime: str
    precision: str
    top_k: int
    format: Literal["jsonl", "csv"]
    shard: int
    """Images in a shard."""
    limits: dict[str, int]
    folder: str
    """Where relative names start."""
    paths: tuple[str, ...]


@dataclass(frozen=True)
class Shard:
    """A stretch of the list of images: its bytes ``start`` to ``stop``."""

    number: int
    start: int
    stop: int
    images: int


@dataclass(frozen=True)
class Run:
    """The run in a folder."""

    folder: Path
    terms: Terms
    shards: tuple[Shard, ...]
    changed: bool
    """The images that were named now are not those that the run began with."""

    @property
    def images(self) -> int:
        """Images of the whole run."""
        return sum(shard.images for shard in self.shards)

    def left(self) -> list[Shard]:
        """The shards that are not done."""
        have = {path.name for path in self.folder.glob("part-*")}
        return [shard for shard in self.shards if self.part(shard).name not in have]

    def part(self, shard: Shard) -> Path:
        """The table of a shard."""
        return self.folder / f"part-{shard.number:06}.{self.terms.format}"

    def paths(self, shard: Shard) -> list[Path]:
        """The images of a shard, in order."""
        with (self.folder / LIST_FILE).open("rb") as file:
            file.seek(shard.start)
            return [Path(os.fsdecode(name)) for name in file.read(shard.stop - shard.start).split(b"\0")[:-1]]

    def keep_errors(self, most: int) -> tuple[int, list[tuple[str, str]]]:
        """Write the list of all images without an answer, when no shard is left.

        Gives how many they are, and the path and the reason of the first ``most``.
        """
        first: list[tuple[str, str]] = []
        count = 0

        def write(target: Path) -> None:
            nonlocal count
            with target.open("wb") as out:
                for count, (path, detail) in enumerate(chain.from_iterable(map(self._errors, self.shards)), 1):
                    out.write(orjson.dumps({"path": path, "detail": detail}, option=orjson.OPT_APPEND_NEWLINE))
                    if count <= most:
                        first.append((path, detail))

        with written(self.folder):
            replace_whole(self.folder / ERRORS_FILE, write)
        return count, first

    def _errors(self, shard: Shard) -> Iterator[tuple[str, str]]:
        with self.part(shard).open(encoding="utf-8", newline="") as file:
            if self.terms.format == "csv":
                rows = csv.reader(file)
                if shard.number == 0:
                    next(rows)
                yield from ((row[0], row[-1]) for row in rows if row[-1])
                return
            for line in file:
                # Most lines have no error, and parsing them would take most of the time.
                if '"error":' in line and "error" in (members := orjson.loads(line)):
                    yield members["path"], members["error"]["detail"]


@contextmanager
def opened(folder: Path, terms: Terms, files: Sequence[Path]) -> Iterator[Run]:
    """Begin a run in a folder, or go on with the one in it, under a lock.

    Raises ``BadParameter`` where another process writes there, where the folder holds another run or something else,
    or where it cannot be written.
    """
    listing = b"".join(os.fsencode(path) + b"\0" for path in files)
    with ExitStack() as stack:
        with written(folder):
            folder.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context((folder / _LOCK_FILE).open("ab"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadParameter(
                f"Another process writes its results to {folder}. Wait for it, or choose another --output."
            ) from None
        with written(folder):
            kept = listing
            if _check_terms(folder, terms):
                kept = (folder / LIST_FILE).read_bytes()
            else:
                write_whole(folder / LIST_FILE, listing)
                write_whole(folder / TERMS_FILE, orjson.dumps(terms.model_dump(), option=orjson.OPT_INDENT_2))
            for leftover in folder.glob(".part-*"):
                leftover.unlink()
        yield Run(folder, terms, tuple(_cut(kept, terms.shard)), changed=kept != listing)


def written(folder: Path) -> AbstractContextManager[None]:
    """``disk_errors`` for what a run writes to its folder."""
    advice = "Free some space or give the permission and repeat the command, which goes on; or choose another --output."
    return disk_errors(f"Results cannot be written to {folder}", advice, BadParameter)


def _check_terms(folder: Path, terms: Terms) -> bool:
    """Whether the folder holds this run; ``BadParameter`` if it holds another."""
    file = folder / TERMS_FILE
    if not file.exists():
        if any(folder.glob("part-*")):
            raise BadParameter(f"{folder} holds tables but no {TERMS_FILE}. Choose another --output.")
        return False
    try:
        before = Terms.model_validate_json(file.read_bytes())
    except ValidationError:
        raise BadParameter(f"{file} cannot be read. Choose another --output.") from None
    for name, value in before:
        if (now := getattr(terms, name)) != value:
            raise BadParameter(
                f"{folder} holds a run whose {name.replace('_', '-')} is {_short(value)}, not {_short(now)}. "
                "Repeat it as it was begun, or choose another --output."
            )
    return True


def _short(value: object) -> str:
    text = " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def _cut(listing: bytes, size: int) -> Iterator[Shard]:
    names = listing.split(b"\0")[:-1]
    start = 0
    for number, first in enumerate(range(0, len(names), size)):
        own = names[first : first + size]
        stop = start + sum(map(len, own)) + len(own)
        yield Shard(number, start, stop, len(own))
        start = stop
