"""Two worker processes, and two devices of one process, against one process with one device and the same batches."""

import json
import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.errors import BadParameter
from models.store.history import read_history
from tests.support.servers import free_port
from tests.support.shapes import CIRCLE, SQUARE, shapes_folder
from training.data.dataset import load_batch, read_dataset
from training.features.keras_dataset import Batches, PixelSource
from training.fit.checkpoint import Checkpoint
from training.fit.distributed import Workers, workers_here
from training.fit.trainer import Schedule, fit

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[3]
ARGUMENTS = ("--size", "32", "--int8", "off", "--batch-size", "8")
FROM_NOTHING = ("--backbone", "mlp", "--weights", "none")
SHORT, LONG = 3, 30
"""Epochs."""


def start(
    home: Path, data: Path, config: dict[str, object] | None, *more: str, network: tuple[str, ...] = FROM_NOTHING
) -> subprocess.Popen[str]:
    environment = os.environ | {"CATSEYE_HOME": str(home / "catseye"), "BENTOML_HOME": str(home / "bentoml")}
    if config is not None:
        environment["TF_CONFIG"] = json.dumps(config)
    command = (sys.executable, "catseye.py", "train", str(data), "--name", "shapes", *ARGUMENTS, *network, *more)
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def length(epochs: int) -> tuple[str, ...]:
    return ("--dropout", "0", "--head-epochs", str(epochs), "--epochs", str(epochs), "--patience", str(epochs))


def fine_tuned(home: Path, data: Path) -> tuple[str, ...]:
    """A small network with weights of its own, all learning; gradients whole, for replicas shorten theirs apart."""
    ended([start(home, data, None, *length(1), network=("--backbone", "cnn", "--weights", "none"))])
    (path,) = home.glob("bentoml/models/shapes/*/*.keras")
    return ("--backbone", "cnn", "--weights", str(path), "--freeze", "none", "--slower", "10", "--clip-norm", "0")


def two_configs() -> list[dict[str, object]]:
    cluster = {"worker": [f"127.0.0.1:{free_port()}" for _ in range(2)]}
    return [{"cluster": cluster, "task": {"type": "worker", "index": index}} for index in range(2)]


def ended(processes: list[subprocess.Popen[str]]) -> list[tuple[str, str, int]]:
    """What each printed, and its status; all must have ended well."""
    told = [(*process.communicate(timeout=240), process.returncode) for process in processes]
    assert [status for _, _, status in told] == [0] * len(processes), told
    return told


def figures(home: Path) -> list[list[float]]:
    """Every figure of every epoch of the one model in a home."""
    (path,) = home.glob("bentoml/models/shapes/*/history.json")
    return [list(row.values()) for phase in read_history(path.parent).phases for row in phase.history]


@pytest.mark.parametrize("tuned", [False, True], ids=["from nothing", "fine-tuned"])
def test_two_workers_train_what_one_process_does(tmp_path, tuned):
    data = shapes_folder(tmp_path / "data", {CIRCLE: 25, SQUARE: 20})
    homes = [tmp_path / name for name in ("chief", "other", "single")]
    network = fine_tuned(tmp_path / "before", data) if tuned else FROM_NOTHING
    configs = [*two_configs(), None]
    told = ended(
        [
            start(home, data, config, *length(SHORT), network=network)
            for home, config in zip(homes, configs, strict=True)
        ]
    )
    assert len(told[1][0].strip().splitlines()) == 1
    assert not list(homes[1].glob("bentoml/models/*/*/model.yaml"))
    assert not list(homes[1].glob("catseye/runs/*"))
    assert len(figures(homes[2])) == (2 if tuned else 1) * SHORT
    np.testing.assert_allclose(figures(homes[0]), figures(homes[2]), atol=1e-3)
    images = load_batch(read_dataset(data, quiet=True).test, (32, 32))
    stored = (next(homes[i].glob("bentoml/models/shapes/*/*.keras")) for i in (0, 2))
    logits = [np.asarray(keras.saving.load_model(path)(images)) for path in stored]
    np.testing.assert_allclose(*logits, atol=1e-3)


def test_two_killed_workers_go_on_from_the_last_epoch(tmp_path):
    data = shapes_folder(tmp_path / "data", {CIRCLE: 25, SQUARE: 20})
    homes = [tmp_path / name for name in ("chief", "other")]
    first = [start(*each, *length(LONG)) for each in zip(homes, [data] * 2, two_configs(), strict=True)]
    end = time.monotonic() + 200
    while not list(homes[0].glob("catseye/runs/*/checkpoint-*.npz")):
        assert time.monotonic() < end, "no epoch was kept"
        assert first[0].poll() is None, first[0].communicate()
        time.sleep(0.05)
    for process in first:
        process.kill()
        process.communicate()
    assert not list(homes[0].glob("bentoml/models/*/*/model.yaml"))
    ended([start(*each, *length(LONG), "--resume") for each in zip(homes, [data] * 2, two_configs(), strict=True)])
    # Sums of floats depend on their order, and over many epochs that shows: so beside two that were left alone.
    others = [tmp_path / name for name in ("third", "fourth")]
    ended([start(*each, *length(LONG)) for each in zip(others, [data] * 2, two_configs(), strict=True)])
    assert len(figures(homes[0])) == LONG
    np.testing.assert_allclose(figures(homes[0]), figures(others[0]), atol=1e-6)


@pytest.mark.parametrize(
    "config", ["no json", "{}", '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 4}}']
)
def test_a_wrong_configuration_says_how_one_looks(monkeypatch, config):
    monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(BadParameter, match="It looks like"):
        workers_here()


def test_one_process_on_one_device_needs_no_others(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    workers = workers_here()
    assert (workers.replicas, workers.count, workers.chief) == (1, 1, True)


def learn(folder, samples, workers):
    """Figures and weights of a small network with frozen statistics, L2, weights of images, and per-layer rates."""
    keras.utils.set_random_seed(0)
    pixels = keras.Input((32, 32, 3), dtype="uint8")
    maps = keras.layers.Conv2D(4, 3, strides=2, activation="relu", name="conv")(keras.layers.Rescaling(1 / 255)(pixels))
    norm = keras.layers.BatchNormalization(name="norm")
    features = keras.layers.GlobalAveragePooling2D()(norm(maps))
    norm.trainable = False
    model = keras.Model(pixels, keras.layers.Dense(2, kernel_regularizer=keras.regularizers.L2(1e-2))(features))
    labels = np.eye(2, dtype=np.float32)[[sample.label for sample in samples]]
    weights = np.linspace(0.5, 1.5, len(samples), dtype=np.float32)
    train = Batches(PixelSource(samples, (32, 32)), labels, weights, batch_size=8, seed=0)
    held = Batches(PixelSource(samples[:9], (32, 32)), labels[:9], np.ones(9, np.float32), batch_size=4)
    rates = {"conv": (np.float32(0.5), np.float32(0.5))}
    schedule = Schedule(phase="top", title="t", epochs=2, patience=9, learning_rate=1e-2, layer_rates=rates)
    progress = fit(model, train, held, schedule, Checkpoint(folder), workers)
    return [list(row.values()) for row in progress.history], model.get_weights()


def compare_devices(folder):
    """To be run in a process that has not started TensorFlow, since only there a processor can be divided."""
    processor = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * 2)
    workers = workers_here()
    assert (workers.replicas, workers.count, workers.chief) == (2, 1, True)
    samples = read_dataset(shapes_folder(folder / "data", {CIRCLE: 15, SQUARE: 15}), quiet=True).samples
    one, two = learn(folder / "one", samples, Workers()), learn(folder / "two", samples, workers)
    np.testing.assert_allclose(two[0], one[0], atol=1e-4)
    for shared, alone in zip(two[1], one[1], strict=True):
        np.testing.assert_allclose(shared, alone, atol=1e-4)


def test_two_devices_learn_what_one_does(tmp_path):
    process = multiprocessing.get_context("spawn").Process(target=compare_devices, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == 0
