import zipfile

import pytest

from models.network.wheels import NoWheel, download_wheel

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
    wheel = download_wheel("pictures==1.0", index)
    assert [path.name for path in index.iterdir()] == [wheel.name] == ["pictures-1.0-py3-none-any.whl"]
    assert zipfile.ZipFile(wheel).read("pictures/one.png") == b"1"


def test_what_cannot_be_had_says_why(index):
    with pytest.raises(NoWheel, match=r"pictures==2\.0"):
        download_wheel("pictures==2.0", index)
    assert list(index.iterdir()) == []
