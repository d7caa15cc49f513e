"""Two worker processes on this machine against one process with the same batches, as real processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from models.errors import BadParameter
from models.history import read_history
from tests.e2e.live import free_port
from tests.training.shapes import CIRCLE, SQUARE, shapes_folder
from training.dataset import load_batch, read_dataset
from training.distribution import workers_here

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
ARGUMENTS = ("--backbone", "mlp", "--weights", "none", "--size", "32", "--int8", "off", "--batch-size", "8")
LENGTH = ("--dropout", "0", "--head-epochs", "3", "--epochs", "3", "--patience", "3")


def start(home: Path, data: Path, config: dict[str, object] | None) -> subprocess.Popen[str]:
    environment = os.environ | {"CATSEYE_HOME": str(home / "catseye"), "BENTOML_HOME": str(home / "bentoml")}
    if config is not None:
        environment["TF_CONFIG"] = json.dumps(config)
    command = (sys.executable, "catseye.py", "train", str(data), "--name", "shapes", *ARGUMENTS, *LENGTH)
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_two_workers_train_what_one_process_does(tmp_path):
    data = shapes_folder(tmp_path / "data", {CIRCLE: 25, SQUARE: 20})
    cluster = {"worker": [f"127.0.0.1:{free_port()}" for _ in range(2)]}
    configs = [{"cluster": cluster, "task": {"type": "worker", "index": index}} for index in range(2)]
    homes = [tmp_path / name for name in ("chief", "other", "single")]
    processes = [start(home, data, config) for home, config in zip(homes, [*configs, None], strict=True)]
    told = [(*process.communicate(), process.returncode) for process in processes]
    assert [status for _, _, status in told] == [0, 0, 0], told
    assert len(told[1][0].strip().splitlines()) == 1
    assert not list(homes[1].glob("bentoml/models/*/*/model.yaml"))
    assert not list(homes[1].glob("catseye/runs/*"))
    (shared,), (alone,) = (list(homes[i].glob("bentoml/models/shapes/*/history.json")) for i in (0, 2))
    histories = [
        [list(row.values()) for phase in read_history(path.parent).phases for row in phase.history]
        for path in (shared, alone)
    ]
    assert len(histories[1]) == 3
    np.testing.assert_allclose(*histories, atol=1e-3)
    images = load_batch(read_dataset(data, quiet=True).test, (32, 32))
    logits = [
        np.asarray(keras.saving.load_model(next(path.parent.glob("*.keras")))(images)) for path in (shared, alone)
    ]
    np.testing.assert_allclose(*logits, atol=1e-3)


@pytest.mark.parametrize(
    "config", ["no json", "{}", '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 4}}']
)
def test_a_wrong_configuration_says_how_one_looks(monkeypatch, config):
    monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(BadParameter, match="It looks like"):
        workers_here()


def test_one_process_on_one_device_needs_no_others(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert workers_here() is None
