import os
import threading
from pathlib import Path

import pytest

from models.staging import clean_staging, exclusive, staging


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
