import os
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from models.arrays import softmax
from models.card import Precision
from models.environment import load_openvino
from models.errors import CatseyeError, StoreError
from models.export.head import read_head
from models.runtime.base import Runtime
from models.runtime.open import open_runtime
from models.runtime.openvino import OpenvinoRuntime
from tests.support.networks import answers, copied, images, network, same, stored, with_card

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


@pytest.mark.parametrize("precision", ["int8", "bfloat16"])
def test_the_head_is_computed_in_float32_whatever_the_rest(precision: Precision) -> None:
    model = stored("cnn", "several", 36)
    runtime = OpenvinoRuntime(model, precision)
    for number in (1, 3):
        found = runtime.run(images(number, 36), ("logits", "embedding"))
        kernel, bias = read_head(model.path, precision)
        np.testing.assert_allclose(found["logits"], found["embedding"] @ kernel + bias, atol=1e-5)
        assert found["logits"].dtype == np.float32


def test_a_head_that_was_changed_is_refused_where_it_is_used(tmp_path: Path) -> None:
    model = copied(stored("cnn", size=36), tmp_path / "model")
    (model.path / "head.npz").write_bytes(b"changed")
    able = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    OpenvinoRuntime(model, "float32")
    with pytest.raises(StoreError, match=r"head\.npz .* is not what was stored") if able else nullcontext():
        OpenvinoRuntime(model, "int8")


def test_runs_alone_use_every_processor_and_give_the_same_answers() -> None:
    runtime = OpenvinoRuntime(stored("cnn", size=36), streams=2)
    expected = answers(network("cnn", size=36), images(1, 36))
    outputs = ("logits", "embedding")
    scores = {name: expected[name] for name in outputs}
    before = set(threading.enumerate())
    same(runtime.run(images(1, 36), outputs, alone=True), scores)
    (compiling,) = set(threading.enumerate()) - before
    compiling.join()
    same(runtime.run(images(1, 36), outputs, alone=True), scores)
    same(runtime.run(images(1, 36), runtime.outputs, alone=True), expected)
    runtime.close()
    with pytest.raises(CatseyeError, match="was closed"):
        runtime.run(images(1, 36), alone=True)


@pytest.mark.parametrize("bound", [0, 64_000_000])
def test_single_images_and_batches_from_many_threads_get_the_same_answers(
    bound: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large network is compiled once for both; a small one separately, by the first run that needs it."""
    monkeypatch.setattr("models.runtime.openvino.SMALL_BYTES", bound)
    runtime = OpenvinoRuntime(stored("cnn", size=36), streams=2)
    expected = answers(network("cnn", size=36), images(5, 36))
    with ThreadPoolExecutor(8) as pool:
        runs = [
            (start, stop, outputs, pool.submit(runtime.run, images(5, 36)[start:stop], outputs, alone=start == 3))
            for _ in range(4)
            for start, stop in ((0, 1), (1, 3), (3, 4), (0, 5))
            for outputs in (("logits", "embedding"), runtime.outputs)
        ]
    for start, stop, outputs, run in runs:
        same(run.result(), {name: expected[name][start:stop] for name in outputs})
    compiling = [thread for thread in threading.enumerate() if thread.name == "catseye-alone"]
    assert bound or not compiling
    for thread in compiling:
        thread.join()


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
