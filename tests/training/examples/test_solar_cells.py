import csv
import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from models.card import DataFingerprint
from models.errors import BadData
from models.store import store
from tests.support.cards import small_card, writer
from training.examples import solar_cells


def test_the_settings_are_those_of_the_measured_run():
    assert solar_cells.SETTINGS.backbone == "mobilenet_v2"
    assert solar_cells.SETTINGS.name == "solar-cells"


def test_unsure_cells_are_learnt_softly(tmp_path):
    cells = [solar_cells.Cell(Path(f"{i}.png"), p, "mono") for i, p in enumerate((0.0, 1 / 3, 2 / 3, 1.0))]
    rows = list(csv.DictReader(solar_cells.cells_table(cells, tmp_path / "cells.csv").open()))
    assert [row["label"] for row in rows] == ["functional", "functional", "defective", "defective"]
    assert [float(row["target:defective"]) for row in rows] == [0.02, 0.25, 0.75, 0.98]
    assert [float(row["target:functional"]) for row in rows] == pytest.approx([0.98, 0.75, 0.25, 0.02])
    assert len({row["stratum"] for row in rows}) == 4


def test_samples_are_left_for_every_label(tmp_path, monkeypatch):
    monkeypatch.setenv("CATSEYE_HOME", str(tmp_path / "home"))
    tested = []
    for i in range(6):
        path = tmp_path / f"{i}.png"
        path.write_bytes(bytes([i]))
        tested.append((path, "ab"[i % 2]))
    names = [path.name for path in solar_cells.copy_samples(tested)]
    assert names == ["a-1.png", "a-2.png", "b-1.png", "b-2.png"]


def test_only_a_model_of_the_same_settings_and_photographs_is_used_again(tmp_path, monkeypatch):
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path))

    def keep(**changes: object) -> store.StoredModel:
        values = {"settings": solar_cells.SETTINGS.as_dict(), "data": known} | changes
        return store.save(small_card(solar_cells.NAME, **values), writer())

    known = DataFingerprint(name="solar-cells", images=2, classes={"a": 2}, sha256=solar_cells.DATA_SHA256)
    keep(data=None)
    keep(data=known.model_copy(update={"sha256": "0" * 64}))
    keep(settings=solar_cells.SETTINGS.as_dict() | {"l2": 0.5})
    assert solar_cells.existing() is None
    ours = keep()
    keep(data=None)
    assert solar_cells.existing() == ours


def test_another_folder_is_left_its_samples_too(tmp_path, monkeypatch):
    """The store is the user's: whoever clones the project again has the model, and is told to send a sample."""
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))
    monkeypatch.setenv("CATSEYE_HOME", str(tmp_path / "home"))
    known = DataFingerprint(name="solar-cells", images=2, classes={"a": 2}, sha256=solar_cells.DATA_SHA256)
    store.save(small_card(solar_cells.NAME, settings=solar_cells.SETTINGS.as_dict(), data=known), writer())
    photograph = tmp_path / "cell.png"
    photograph.write_bytes(b"cell")
    monkeypatch.setattr(solar_cells, "photographs", lambda: (tmp_path, [(photograph, "defective")]))
    assert solar_cells.main() == 0
    assert (tmp_path / "home" / "samples" / "defective-1.png").read_bytes() == b"cell"
    photograph.unlink()
    assert solar_cells.main() == 0


def test_changed_photographs_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("CATSEYE_HOME", str(tmp_path))
    folder = tmp_path / "data" / f"elpv-{solar_cells.VERSION}"
    folder.mkdir(parents=True)
    lines = []
    for i in range(1000):
        Image.new("L", (1, 8 + i)).save(folder / f"{i}.png")
        lines.append(f"{i}.png {i % 2} mono")
    (folder / "labels.csv").write_text("\n".join(lines))
    with pytest.raises(BadData, match="were changed"):
        solar_cells.train_demo()


def test_importing_the_demo_does_not_import_tensorflow():
    code = "import sys, training.examples.solar_cells; sys.exit(any(m in sys.modules for m in ('tensorflow', 'keras')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


TABLE = "images/cell0001.png  0.3333333333333333  mono\nimages/cell0002.png 1.0 poly\n"


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A wheel of that name and version, the only one that pip finds."""
    about = f"elpv_dataset-{solar_cells.VERSION}.dist-info"
    files = {
        "elpv_dataset/data/labels.csv": TABLE,
        "elpv_dataset/data/images/cell0001.png": "1",
        "elpv_dataset/data/images/cell0002.png": "2",
        "elpv_dataset/utils.py": "raise SystemExit",
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: elpv-dataset\nVersion: {solar_cells.VERSION}\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    path = tmp_path / f"elpv_dataset-{solar_cells.VERSION}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in {**files, f"{about}/RECORD": "".join(f"{name},,\n" for name in files)}.items():
            archive.writestr(name, text)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("CATSEYE_HOME", str(tmp_path / "home"))
    return path


def test_cells_are_read_from_the_packages_data_alone(wheel, tmp_path, monkeypatch):
    monkeypatch.setattr(solar_cells, "WHEEL_SHA256", hashlib.sha256(wheel.read_bytes()).hexdigest())
    first, second = solar_cells.fetch_cells()
    assert (first.probability, first.kind, second.stratum) == (pytest.approx(1 / 3), "mono", "poly 1.00")
    assert first.path.read_bytes() == b"1"
    assert not list((tmp_path / "home").rglob("utils.py"))


def test_a_file_with_another_hash_is_refused(wheel):
    with pytest.raises(BadData, match=f"{wheel.name} has another SHA-256"):
        solar_cells.fetch_cells()


def test_a_missing_package_is_one_clear_error(wheel, tmp_path):
    wheel.unlink()
    with pytest.raises(BadData, match=r"cannot be downloaded.*Check pip's index"):
        solar_cells.fetch_cells()
    assert not (tmp_path / "home" / "data" / f"elpv-{solar_cells.VERSION}").exists()


def test_a_table_has_a_row_for_each_cell(tmp_path):
    path = solar_cells.write_table(tmp_path / "t.csv", [{"path": "a, b.png", "label": "x"}])
    assert path.read_text().split() == ["path,label", '"a,', 'b.png",x']
