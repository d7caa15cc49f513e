from pathlib import Path

import numpy as np
import pytest

from models.errors import StoreError
from models.export.head import HEAD_FILE, read_head, write_head


def head(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.normal(size=(4, 3)).astype(np.float32), random.normal(size=3).astype(np.float32)


def test_heads_of_both_precisions_are_kept_in_one_file(tmp_path: Path) -> None:
    plain, rounded = head(), head(seed=1)
    write_head(tmp_path, {"float32": plain})
    for precision in ("float32", "int8"):  # of which int8 has none of its own
        for found, expected in zip(read_head(tmp_path, precision), plain, strict=True):
            np.testing.assert_array_equal(found, expected)
    write_head(tmp_path, {"float32": plain, "int8": rounded})
    np.testing.assert_array_equal(read_head(tmp_path)[0], plain[0])
    np.testing.assert_array_equal(read_head(tmp_path, "int8")[0], rounded[0])
    np.testing.assert_array_equal(read_head(tmp_path, "int8")[1], rounded[1])


def test_a_missing_or_broken_file_is_a_store_error(tmp_path: Path) -> None:
    for content in (None, b"no archive", b"PK\x03\x04 no archive", b""):
        if content is not None:
            (tmp_path / HEAD_FILE).write_bytes(content)
        with pytest.raises(StoreError, match=r"head\.npz of model .* cannot be read"):
            read_head(tmp_path)
    np.savez(tmp_path / HEAD_FILE, other=np.zeros(1))
    with pytest.raises(StoreError, match=HEAD_FILE):
        read_head(tmp_path)
