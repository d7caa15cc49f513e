import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.arrays import softmax
from models.errors import BadParameter, CatseyeError, StoreError, UnknownLayer
from models.export.openvino import export_openvino
from models.network.classifier import build_classifier
from models.runtime.base import Kind
from models.runtime.open import open_runtime
from tests.support.networks import Depths, answers, copied, images, network, same, stored, with_card

KINDS: tuple[Kind, ...] = ("openvino", "tensorflow")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("backbone", "size", "depths"),
    [("mlp", 16, "several"), ("cnn", 36, "last"), ("cnn", 36, "several"), ("mobilenet_v2", 64, "several")],
)
def test_both_runtimes_answer_as_keras(backbone: str, size: int, depths: Depths, kind: Kind) -> None:
    model = stored(backbone, depths, size)
    runtime = open_runtime(model, kind)
    assert (runtime.name, runtime.precision) == (kind, "float32")
    assert runtime.outputs == ("logits", "embedding", *(f"tap_{tap.index}" for tap in model.card.taps))
    for count in (1, 2, 3, 5):
        pixels = images(count, size, seed=count)
        expected = answers(network(backbone, depths, size), pixels)
        assert list(runtime.run(pixels)) == ["logits"]
        for outputs in (["logits"], ["embedding", "logits"], runtime.outputs, runtime.outputs[-1:]):
            found = runtime.run(pixels, outputs)
            assert list(found) == list(outputs)
            same(found, expected)
    assert np.ptp(softmax(runtime.run(images(8, size))["logits"]), axis=0).max() > 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_threads_get_their_own_answers(kind: Kind) -> None:
    size = 36
    runtime = open_runtime(stored("cnn", "several", size), kind, streams=2)
    pixels = images(64, size)
    expected = answers(network("cnn", "several", size), pixels)
    outputs = (("logits",), ("logits", "embedding"), ("logits", "tap_0"))

    def work(number: int) -> None:
        start, count = number % 60, 1 + number % 4
        found = runtime.run(pixels[start : start + count], outputs[number % 3])
        same(found, {name: values[start : start + count] for name, values in expected.items()})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(300)))


@pytest.mark.parametrize("kind", KINDS)
def test_answers_do_not_change_with_the_next_run(kind: Kind) -> None:
    runtime = open_runtime(stored("cnn", size=36), kind)
    first = runtime.run(images(1, 36, seed=1), runtime.outputs)
    before = {name: values.copy() for name, values in first.items()}
    runtime.run(images(1, 36, seed=2), runtime.outputs)
    for name, values in first.items():
        np.testing.assert_array_equal(values, before[name])


@pytest.mark.parametrize("kind", KINDS)
def test_any_memory_layout_is_taken(kind: Kind) -> None:
    runtime = open_runtime(stored("cnn", size=36), kind)
    pixels = images(4, 36)
    expected = runtime.run(pixels)["logits"]
    frozen = pixels.copy()
    frozen.flags.writeable = False
    fortran = np.asfortranarray(pixels)
    buffer = np.frombuffer(pixels.tobytes(), np.uint8).reshape(pixels.shape)
    for same_pixels in (frozen, fortran, buffer, pixels[::-1][::-1]):
        np.testing.assert_allclose(runtime.run(same_pixels)["logits"], expected, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_input_is_named(kind: Kind) -> None:
    runtime = open_runtime(stored("cnn", size=36), kind)
    for wrong in (images(0, 36), images(1, 32), images(1, 36)[0], images(1, 36).astype(np.float32)):
        with pytest.raises(BadParameter, match=r"Give uint8 \(batch, 36, 36, 3\)"):
            runtime.run(wrong)
    for name in ("tap_9", "", "probabilities"):
        with pytest.raises(UnknownLayer, match="It has logits, embedding, tap_0"):
            runtime.run(images(1, 36), ["logits", name])


@pytest.mark.parametrize("kind", KINDS)
def test_close(kind: Kind) -> None:
    runtime = open_runtime(stored("cnn", size=36), kind)
    runtime.close()
    runtime.close()
    for outputs in (("logits",), ("tap_0",)):
        with pytest.raises(CatseyeError, match="closed"):
            runtime.run(images(1, 36), outputs)


def test_impossible_requests_are_named() -> None:
    model = stored("cnn", size=36)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"kind": "onnx"}, "is no runtime"),
        ({"streams": 0}, "streams must be at least 1"),
        ({"threads": -1}, "threads must be at least 1"),
        ({"kind": "tensorflow", "precision": "int8"}, "TensorFlow runs float32"),
    ]
    for arguments, message in cases:
        with pytest.raises(BadParameter, match=message):
            open_runtime(model, **arguments)
    with pytest.raises(StoreError, match="has no int8 export"):
        open_runtime(with_card(model, exports=model.card.exports[:1]), precision="int8")


def test_precision_is_the_cards_and_is_what_really_runs() -> None:
    model = with_card(stored("cnn", size=36), served_precision="int8")
    assert open_runtime(model).precision == "int8"
    assert open_runtime(model, precision="float32").precision == "float32"
    assert open_runtime(model, "tensorflow").precision == "float32"
    pixels = images(8, 36)
    expected = softmax(open_runtime(model, precision="float32").run(pixels)["logits"])
    for precision in ("int8", "bfloat16"):
        found = softmax(open_runtime(model, precision=precision).run(pixels)["logits"])
        assert np.abs(found - expected).mean() < 0.05


@pytest.mark.parametrize(
    ("kind", "file"),
    [("openvino", "openvino/float32.xml"), ("openvino", "openvino/float32.bin"), ("tensorflow", "model.keras")],
)
def test_corrupt_files_are_named_on_loading(kind: Kind, file: str, tmp_path: Path) -> None:
    whole = (stored("cnn", size=36).path / file).read_bytes()
    middle = len(whole) // 2
    for number, data in enumerate((b"", whole[:-1], whole[:middle] + b"\x00\xff" + whole[middle + 2 :])):
        model = copied(stored("cnn", size=36), tmp_path / str(number))
        (model.path / file).write_bytes(data)
        with pytest.raises(StoreError, match=rf"{file} .* is not what was stored"):
            open_runtime(model, kind)
    (model.path / file).unlink()
    with pytest.raises(StoreError, match=rf"{file} .* is missing"):
        open_runtime(model, kind)


def test_another_network_than_the_cards_is_refused(tmp_path: Path) -> None:
    model = stored("cnn", size=36)
    other = copied(stored("mlp", "several", 16), tmp_path / "other")
    other = replace(other, card=model.card.model_copy(update={"files": other.card.files}))
    labels = with_card(model, labels=("one", "two"))
    taps = with_card(model, taps=(*model.card.taps, model.card.taps[0].model_copy(update={"index": 9})))
    for wrong, message in ((other, "takes|has no output"), (labels, "card says"), (taps, "no output tap_9")):
        with pytest.raises(StoreError, match=message):
            open_runtime(wrong)
    with pytest.raises(StoreError, match="disagree"):
        open_runtime(labels, "tensorflow")


def test_a_network_that_answers_nonsense_is_refused(tmp_path: Path) -> None:
    model = copied(stored("cnn", size=36), tmp_path / "nan")
    classifier = build_classifier("cnn", 5, input_size=36)
    classifier.model.get_layer("logits").bias.assign(np.full(5, np.nan))
    export_openvino(classifier, model.path)
    with pytest.raises(StoreError, match="not finite"):
        open_runtime(with_card(model, files={}))


def test_serving_loads_no_tensorflow_and_starts_from_threads() -> None:
    """In a fresh process, where OpenVINO's first inference is still to come."""
    model = stored("cnn", size=36)
    code = """
import sys, threading
import numpy as np
from pathlib import Path
import models.runtime.open, models.store.store
assert not {"openvino", "keras", "tensorflow", "bentoml"} & set(sys.modules)
path = Path(sys.argv[1])
from models.card import read_card
model = models.store.store.StoredModel(path.parent.name, path.name, path, read_card(path / "card.json"))
runtimes = []
openers = [threading.Thread(target=lambda: runtimes.append(models.runtime.open.open_runtime(model))) for _ in range(2)]
for thread in openers: thread.start()
for thread in openers: thread.join()
pixels = np.zeros((2, 36, 36, 3), np.uint8)
def work():
    for _ in range(20):
        for runtime in runtimes:
            runtime.run(pixels, ["logits", "tap_0"])
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert not {"keras", "tensorflow", "bentoml"} & set(sys.modules)
print(len(runtimes))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(model.path)],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "2"
