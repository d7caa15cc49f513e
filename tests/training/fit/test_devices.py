"""Two devices of one machine against one: two logical processors, which only a new process can configure."""

import multiprocessing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.training.fit.test_trainer import Held, head, schedule
from training.features.frozen_trunk import empty_trunk
from training.features.keras_dataset import Batches
from training.fit.checkpoint import Checkpoint
from training.fit.distributed import Workers, workers_here
from training.fit.trainer import fit


def learn(folder: Path, workers: Workers):
    """Figures and weights of a small network with frozen statistics, L2, weights of images, and per-layer rates."""
    rng = np.random.default_rng(0)
    images, targets = rng.integers(0, 255, (30, 32, 32, 3)).astype(np.uint8), np.eye(2, dtype=np.float32)[[0, 1] * 15]
    classifier, top = head(l2=1e-2)
    weights = np.linspace(0.5, 1.5, 30, dtype=np.float32)
    train = Batches(Held(images), targets, weights, batch_size=8, seed=0)
    validation = Batches(Held(images[:9]), targets[:9], np.ones(9, np.float32), batch_size=4)
    model = top.model(empty_trunk(classifier))
    plan = replace(schedule(2), learning_rate=1e-3, layer_rates={"conv_1": (np.float32(0.5), np.float32(0.5))})
    progress = fit(model, train, validation, plan, Checkpoint(folder), workers)
    return [list(row.values()) for row in progress.history], model.get_weights()


def compare(folder: Path) -> None:
    """In a process that has not started TensorFlow."""
    processor = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * 2)
    workers = workers_here()
    assert (workers.replicas, workers.count, workers.chief) == (2, 1, True)
    (folder / "one").mkdir()
    (folder / "two").mkdir()
    one, two = learn(folder / "one", Workers()), learn(folder / "two", workers)
    np.testing.assert_allclose(two[0], one[0], atol=1e-4)
    for shared, alone in zip(two[1], one[1], strict=True):
        np.testing.assert_allclose(shared, alone, atol=1e-4)


@pytest.mark.long
def test_two_devices_learn_what_one_does(tmp_path):
    process = multiprocessing.get_context("spawn").Process(target=compare, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == 0
