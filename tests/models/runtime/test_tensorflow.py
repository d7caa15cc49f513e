import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf

from models.runtime.tensorflow import TensorflowRuntime
from tests.support.networks import answers, images, network, same, stored


def test_it_does_not_trace_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tracing costs seconds, and would happen in the middle of a request."""
    runtime = TensorflowRuntime(stored("cnn", size=36))
    runtime.run(images(1, 36), ["tap_0"])
    batches = [images(count, 36) for count in (1, 2, 7)]
    expected = [answers(network("cnn", size=36), pixels) for pixels in batches]

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("traced again")

    monkeypatch.setattr(tf, "function", refuse)
    for pixels, values in zip(batches, expected, strict=True):
        same(runtime.run(pixels, runtime.outputs), values)


def test_threads_are_set_before_tensorflow_starts_and_said_to_be_late_after() -> None:
    model = stored("cnn", size=36)
    code = """
import logging, sys
from pathlib import Path
from models.card import read_card
from models.runtime.open import open_runtime
from models.store.store import StoredModel
import tensorflow as tf
logging.basicConfig(stream=sys.stdout, format="%(message)s")
folder = Path(sys.argv[1])
model = StoredModel(folder.parent.name, folder.name, folder, read_card(folder / "card.json"))
open_runtime(model, "tensorflow", threads=1)
print(tf.config.threading.get_intra_op_parallelism_threads())
open_runtime(model, "tensorflow", threads=2)
print(tf.config.threading.get_intra_op_parallelism_threads())
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(model.path)],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["1", "TensorFlow has started already, so it keeps its number of threads.", "1"]
