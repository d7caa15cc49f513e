import csv
import subprocess
import sys
from pathlib import Path

import pytest

from training import demo
from training.elpv import Cell


def test_the_settings_are_those_of_the_measured_run():
    assert demo.SETTINGS.backbone == "mobilenet_v2"
    assert demo.SETTINGS.name == "solar-cells"


def test_unsure_cells_are_learnt_softly(tmp_path):
    cells = [Cell(Path(f"{i}.png"), p, "mono") for i, p in enumerate((0.0, 1 / 3, 2 / 3, 1.0))]
    rows = list(csv.DictReader(demo.cells_table(cells, tmp_path / "cells.csv").open()))
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
    names = [path.name for path in demo.leave_samples(tested)]
    assert names == ["a-1.png", "a-2.png", "b-1.png", "b-2.png"]


def test_importing_the_demo_does_not_import_tensorflow():
    code = "import sys, training.demo; sys.exit(any(m in sys.modules for m in ('tensorflow', 'keras')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
