"""The packages of an image, as its lock allows them in: an exact version, and the hash of each of its files."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from packaging.utils import NormalizedName, canonicalize_name
from pip_requirements_parser import RequirementsFile

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Locked:
    """One package of a lock; ``hashes`` are the SHA-256 of its files in hexadecimal digits."""

    name: NormalizedName
    version: str
    hashes: frozenset[str]


@cache
def read(lock: str) -> tuple[Locked, ...]:
    """The entries of ``deploy/<lock>.lock``, by name; pip itself refuses what has no hash."""
    found = RequirementsFile.from_file(str(FOLDER / f"{lock}.lock")).requirements
    return tuple(
        Locked(
            canonicalize_name(each.name),
            each.get_pinned_version,
            frozenset(digest.removeprefix("sha256:") for digest in each.hash_options),
        )
        for each in sorted(found, key=lambda each: canonicalize_name(each.name))
    )
