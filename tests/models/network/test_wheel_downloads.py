import zipfile

import pytest

from models.files import sha256_of
from models.network.downloads import NoWheel, download_wheel

METADATA = "Metadata-Version: 2.1\nName: pictures\nVersion: 1.0\nRequires-Dist: nothing-like-this\n"


@pytest.fixture
def index(monkeypatch, tmp_path):
    """A folder in place of the package index, with one wheel in it."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    (tmp_path / "index").mkdir()
    with zipfile.ZipFile(tmp_path / "index" / "pictures-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("pictures/one.png", b"1")
        archive.writestr("pictures-1.0.dist-info/METADATA", METADATA)
        archive.writestr("pictures-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("pictures-1.0.dist-info/RECORD", "")
    (tmp_path / "to").mkdir()
    return tmp_path / "to"


def test_a_wheel_comes_whole_and_alone(index):
    (sha256,) = (sha256_of(path) for path in (index.parent / "index").iterdir())
    wheel = download_wheel("pictures==1.0", sha256, index)
    assert [path.name for path in index.iterdir()] == [wheel.name] == ["pictures-1.0-py3-none-any.whl"]
    assert zipfile.ZipFile(wheel).read("pictures/one.png") == b"1"


def test_what_cannot_be_had_says_why(index):
    with pytest.raises(NoWheel, match=r"pictures==2\.0"):
        download_wheel("pictures==2.0", "0" * 64, index)
    assert list(index.iterdir()) == []


def test_another_file_under_the_same_name_is_refused(index):
    with pytest.raises(NoWheel, match="another SHA-256 than 000000000000"):
        download_wheel("pictures==1.0", "0" * 64, index)
