import zipfile
from pathlib import Path

import pytest

from models.errors import BadData
from training.examples import elpv

TABLE = "images/cell0001.png  0.3333333333333333  mono\nimages/cell0002.png 1.0 poly\n"


def wheel(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "elpv_dataset/data/labels.csv",
            TABLE,
        )
        archive.writestr("elpv_dataset/data/images/cell0001.png", b"1")
        archive.writestr("elpv_dataset/data/images/cell0002.png", b"2")
        archive.writestr("elpv_dataset/utils.py", "raise SystemExit")
    return path


def test_cells_are_read_from_what_was_unpacked(tmp_path, monkeypatch):
    monkeypatch.setenv("CATSEYE_HOME", str(tmp_path))
    folder = tmp_path / "data" / f"elpv-{elpv.VERSION}"
    elpv._unpack(wheel(tmp_path / "a.whl"), folder)
    first, second = elpv.fetch_cells()
    assert (first.probability, first.kind, second.stratum) == (pytest.approx(1 / 3), "mono", "poly 1.00")
    assert first.path.read_bytes() == b"1"
    assert not list(tmp_path.rglob("utils.py"))


def test_another_file_than_the_known_one_is_refused(tmp_path, monkeypatch):
    wheel(tmp_path / "elpv_dataset-1.0.0.post1-py3-none-any.whl")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    (tmp_path / "to").mkdir()
    with pytest.raises(BadData):
        elpv._download(tmp_path / "to")


def test_no_package_is_one_clear_error(tmp_path, monkeypatch):
    monkeypatch.setenv("CATSEYE_HOME", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(BadData, match=r"could not be fetched.*Check pip's index"):
        elpv.fetch_cells()
    assert not (tmp_path / "data" / f"elpv-{elpv.VERSION}").exists()


def test_a_table_has_a_row_for_each_cell(tmp_path):
    path = elpv.write_table(tmp_path / "t.csv", [{"path": "a, b.png", "label": "x"}])
    assert path.read_text().split() == ["path,label", '"a,', 'b.png",x']
