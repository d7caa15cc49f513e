import hashlib

from models.image.decode import Limits
from tests.support.folders import put
from tests.support.images import jpeg, png
from training.data.validate import Skipped, validate_files


def test_good_files_give_their_hash_and_broken_ones_the_reason(tmp_path):
    whole = jpeg(200, 200)
    files = {
        "good.jpg": whole,
        "cut.jpg": whole[: len(whole) // 2],
        "cut.png": png(64, 64)[:-500],
        "text.png": b"hello",
        "empty.png": b"",
    }
    paths = [put(tmp_path / name, data) for name, data in files.items()]
    good, *bad = validate_files([*paths, tmp_path / "gone.png", tmp_path], quiet=True)
    assert good == hashlib.sha256(whole).hexdigest()
    assert all(isinstance(one, Skipped) and one.reason and "\n" not in one.reason for one in bad)
    assert [one.kind for one in bad] == ["unreadable"] * 4 + ["missing", "unreadable"]
    assert bad[3].reason == "the file is empty"


def test_files_over_a_limit_are_not_read(tmp_path):
    path = put(tmp_path / "big.png", png(64, 64))
    (heavy,) = validate_files([path], limits=Limits(max_bytes=100), quiet=True)
    (wide,) = validate_files([path], limits=Limits(max_pixels=100), quiet=True)
    assert "more than the limit of 100" in heavy.reason
    assert "64" in wide.reason
