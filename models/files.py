"""Files written atomically, hashes, and errors of the disk."""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from models.errors import BadParameter, CatseyeError, StoreError


def write_whole(path: Path, data: bytes) -> None:
    """Put ``data`` at ``path`` in one step: a reader sees the old file or the new one, never a half.

    Raises ``OSError`` (a full disk, for example); the old file is then untouched.
    """
    replace_whole(path, lambda temporary: temporary.write_bytes(data))


def replace_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a temporary file beside ``path`` (same suffix), flush it, then rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        sync(temporary)
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


def sync(path: Path) -> None:
    """Flush one file, or one folder's list of names, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Flush every file and folder below ``folder``, and itself."""
    for root, _, names in os.walk(folder):
        for name in names:
            sync(Path(root, name))
        sync(Path(root))


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_below(folder: Path) -> Iterator[tuple[str, Path]]:
    """Every file and link below ``folder``, sorted: its relative path with forward slashes, and its path."""
    for root, folders, names in sorted(os.walk(folder)):
        links = [name for name in folders if Path(root, name).is_symlink()]
        for path in sorted(Path(root, name) for name in names + links):
            yield path.relative_to(folder).as_posix(), path


@contextmanager
def disk_errors(
    what: str,
    advice: str = "Check the free space and the permissions, or set BENTOML_HOME to another disk.",
    raises: type[CatseyeError] = StoreError,
) -> Iterator[None]:
    """Turn an ``OSError``, such as a full disk, into one sentence on ``what`` failed and why, and the ``advice``."""
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename and str(error.filename) not in what else ""
        raise raises(f"{what}: {error.strerror or error}{where}. {advice}") from error


def output_errors(path: Path) -> AbstractContextManager[None]:
    """``disk_errors`` for the output of a command: ``BadParameter`` where it cannot be written."""
    return disk_errors(f"{path} cannot be written", "Choose another place with --output.", BadParameter)
