import csv
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from models.card import DataFingerprint
from models.errors import BadData
from models.store import store
from tests.support.cards import small_card, writer
from training.examples import solar_cells
from training.examples.elpv import VERSION, Cell


def test_the_settings_are_those_of_the_measured_run():
    assert solar_cells.SETTINGS.backbone == "mobilenet_v2"
    assert solar_cells.SETTINGS.name == "solar-cells"


def test_unsure_cells_are_learnt_softly(tmp_path):
    cells = [Cell(Path(f"{i}.png"), p, "mono") for i, p in enumerate((0.0, 1 / 3, 2 / 3, 1.0))]
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
    names = [path.name for path in solar_cells.leave_samples(tested)]
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
    folder = tmp_path / "data" / f"elpv-{VERSION}"
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
