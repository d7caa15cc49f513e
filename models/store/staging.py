"""The folders in which models are prepared before they appear in the store, and the store's lock.

Layout, beside BentoML's own folders and on the same file system, so that a rename is one step::

    BENTOML_HOME/catseye/lock               held while the store's list of models changes
    BENTOML_HOME/catseye/emptied            exists while the store is empty because its last model was deleted
    BENTOML_HOME/catseye/staging/ID/lock    held by the process that is filling ID
    BENTOML_HOME/catseye/staging/ID/model   the files

The kernel releases the locks of a killed process, so a folder whose lock is free is a leftover.
"""

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def exclusive(home: Path) -> Iterator[None]:
    """Hold the store's lock; other processes (and threads) wait."""
    area = home / "catseye"
    area.mkdir(parents=True, exist_ok=True)
    handle = os.open(area / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def note_emptied(home: Path, emptied: bool) -> None:
    """Record whether the store is empty because its last model was deleted; call it with the store's lock held."""
    note = home / "catseye" / "emptied"
    if emptied:
        note.touch()
    else:
        note.unlink(missing_ok=True)


def was_emptied(home: Path) -> bool:
    """Whether the store's last model was deleted and none was stored since."""
    return (home / "catseye" / "emptied").exists()


@contextmanager
def staging(home: Path) -> Iterator[Path]:
    """An empty folder to fill; whatever is still in it at the end is removed."""
    with exclusive(home):
        clean_staging(home)
        area = home / "catseye" / "staging" / secrets.token_hex(8)
        (area / "model").mkdir(parents=True)
        handle = os.open(area / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        yield area / "model"
    finally:
        shutil.rmtree(area, ignore_errors=True)
        os.close(handle)


def clean_staging(home: Path) -> list[str]:
    """Remove folders whose process is gone; call it with the store's lock held. Returns their names."""
    area = home / "catseye" / "staging"
    leftovers = [path for path in sorted(area.iterdir()) if _abandoned(path)] if area.is_dir() else []
    for path in leftovers:
        shutil.rmtree(path, ignore_errors=True)
    return [path.name for path in leftovers]


def _abandoned(area: Path) -> bool:
    try:
        handle = os.open(area / "lock", os.O_RDWR)
    except OSError:
        # Killed between making the folder and its lock; both happen under the store's lock, which we hold.
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    return True
