import hashlib
from pathlib import Path

import pytest

from models.errors import BadParameter, StoreError
from models.files import disk_errors, files_below, output_errors, replace_whole, sha256_of, sync_tree, write_whole


def test_write_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.txt"
    write_whole(path, b"one")
    write_whole(path, b"two")
    assert path.read_bytes() == b"two"
    assert [each.name for each in path.parent.iterdir()] == ["file.txt"]
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_failing_writer_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_whole(path, b"old")

    def write(temporary: Path) -> None:
        assert temporary.suffix == ".txt"
        temporary.write_bytes(b"half")
        raise KeyError

    with pytest.raises(KeyError):
        replace_whole(path, write)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_files_below_and_their_hashes(tmp_path: Path) -> None:
    for name in ("b/two", "a", "b/one"):
        write_whole(tmp_path / name, name.encode())
    (tmp_path / "link").symlink_to(tmp_path / "b")
    sync_tree(tmp_path)
    assert [relative for relative, _ in files_below(tmp_path)] == ["a", "link", "b/one", "b/two"]
    assert sha256_of(tmp_path / "a") == hashlib.sha256(b"a").hexdigest()


def test_disk_errors_say_what_failed_and_where(tmp_path: Path) -> None:
    message = r"It failed: No such file or directory \(.*gone\)\. Check"
    with pytest.raises(StoreError, match=message), disk_errors("It failed"):
        (tmp_path / "gone").read_bytes()


def test_an_output_that_cannot_be_written_is_said_with_what_to_do() -> None:
    with pytest.raises(BadParameter) as caught, output_errors(Path("maps.png")):
        raise PermissionError(13, "Permission denied", "maps.png")
    assert caught.value.detail == "maps.png cannot be written: Permission denied. Choose another place with --output."
