"""Files written whole or not at all, and hashes of them."""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from models.errors import BadParameter, StoreError

_CHUNK = 1 << 20


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
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def files_below(folder: Path) -> Iterator[tuple[str, Path]]:
    """Every file and link below ``folder``, sorted: its relative path with forward slashes, and its path."""
    for root, folders, names in sorted(os.walk(folder)):
        links = [name for name in folders if Path(root, name).is_symlink()]
        for path in sorted(Path(root, name) for name in names + links):
            yield path.relative_to(folder).as_posix(), path


@contextmanager
def disk_errors(what: str) -> Iterator[None]:
    """Turn an ``OSError`` into a ``StoreError`` that begins with ``what`` failed and names the file."""
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise StoreError(
            f"{what}: {error.strerror or error}{where}. "
            "Check the free space and the permissions, or set BENTOML_HOME to another disk."
        ) from error


def cannot_write(path: Path, error: OSError) -> BadParameter:
    """What to say of a command's output that cannot be written."""
    reason = error.strerror or type(error).__name__
    return BadParameter(f"{path} cannot be written ({reason}). Choose another place with --output.")
