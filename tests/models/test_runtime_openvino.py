import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from models.activation import softmax
from models.errors import CatseyeError, StoreError
from models.runtime import Runtime, open_runtime
from models.runtime_openvino import OpenvinoRuntime
from models.telemetry import load_openvino
from tests.models.networks import answers, copied, images, network, same, stored, with_card

openvino = load_openvino()


def test_streams_and_threads() -> None:
    runtime = open_runtime(stored("cnn", size=36), streams=2, threads=2, hint="throughput")
    assert runtime.streams == 2


def test_bfloat16_runs_where_the_processor_has_it(caplog: pytest.LogCaptureFixture) -> None:
    able = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    model = stored("cnn", size=36)
    runtime = OpenvinoRuntime(model, "bfloat16")
    assert runtime.precision == ("bfloat16" if able else "float32")
    assert ("no bfloat16" in caplog.text) != able
    expected = answers(network("cnn", size=36), images(4, 36))["logits"]
    assert np.abs(softmax(runtime.run(images(4, 36))["logits"]) - softmax(expected)).max() < 0.05


def test_lone_runs_have_every_processor_and_the_same_answers() -> None:
    runtime = OpenvinoRuntime(stored("cnn", size=36), streams=2)
    expected = answers(network("cnn", size=36), images(2, 36))
    outputs = ("logits", "embedding")
    before = set(threading.enumerate())
    same(runtime.run(images(2, 36), outputs, alone=True), {name: expected[name] for name in outputs})
    for thread in set(threading.enumerate()) - before:  # which makes the other form ready
        thread.join()
    assert runtime._alone is not None
    assert runtime._alone.streams == 1
    same(runtime.run(images(2, 36), outputs, alone=True), {name: expected[name] for name in outputs})
    same(runtime.run(images(2, 36), runtime.outputs, alone=True), expected)
    runtime.close()
    with pytest.raises(CatseyeError, match="was closed"):
        runtime.run(images(2, 36), alone=True)


def test_files_that_openvino_does_not_read_are_named(tmp_path: Path) -> None:
    model = with_card(copied(stored("cnn", size=36), tmp_path / "broken"), files={})
    (model.path / "openvino" / "float32.xml").write_text("<net>")
    with pytest.raises(StoreError, match=r"float32\.xml .* cannot be run by OpenVINO"):
        open_runtime(model)


@pytest.mark.parametrize("damage", [shutil.rmtree, lambda folder: truncate(folder)])
def test_a_running_model_outlives_its_files(damage: Callable[[Path], None], tmp_path: Path) -> None:
    model = copied(stored("cnn", size=36), tmp_path / "model")
    runtime = open_runtime(model)
    damage(model.path)
    same(runtime.run(images(2, 36), runtime.outputs), answers(network("cnn", size=36), images(2, 36)))


def truncate(folder: Path) -> None:
    for path in (folder / "openvino").iterdir():
        os.truncate(path, 0)


def test_opening_from_many_threads_at_once() -> None:
    found: list[Runtime] = []
    threads = [threading.Thread(target=lambda: found.append(open_runtime(stored("cnn", size=36)))) for _ in range(4)]
    stored("cnn", size=36)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
