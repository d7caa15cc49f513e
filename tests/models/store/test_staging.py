import os
import threading
from pathlib import Path

import pytest

from models.store.staging import clean_staging, exclusive, note_emptied, staging, was_emptied


def test_staging_is_empty_and_goes_away(tmp_path: Path) -> None:
    with staging(tmp_path) as folder:
        assert list(folder.iterdir()) == []
        (folder / "file").write_bytes(b"x")
    with pytest.raises(KeyError), staging(tmp_path) as folder:
        raise KeyError
    assert list((tmp_path / "catseye" / "staging").iterdir()) == []


def test_leftovers_of_dead_processes_are_removed_and_living_ones_kept(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        with staging(tmp_path):
            os._exit(0)
    os.waitpid(child, 0)
    (left,) = (tmp_path / "catseye" / "staging").iterdir()
    (tmp_path / "catseye" / "staging" / "unlocked").mkdir()
    with staging(tmp_path) as folder:
        names = [path.name for path in (tmp_path / "catseye" / "staging").iterdir()]
        assert names == [folder.parent.name]
        assert left.name not in names
        with exclusive(tmp_path):
            assert clean_staging(tmp_path) == []
        assert folder.is_dir()


def test_exclusive_is_exclusive(tmp_path: Path) -> None:
    inside: list[int] = []
    most: list[int] = []

    def work() -> None:
        for _ in range(20):
            with exclusive(tmp_path):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1


def test_a_store_notes_that_it_was_emptied_on_purpose(tmp_path: Path) -> None:
    assert not was_emptied(tmp_path)
    with exclusive(tmp_path):
        note_emptied(tmp_path, True)
    assert was_emptied(tmp_path)
    with exclusive(tmp_path):
        note_emptied(tmp_path, False)
        note_emptied(tmp_path, False)
    assert not was_emptied(tmp_path)
