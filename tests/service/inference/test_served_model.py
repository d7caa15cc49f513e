import gc
import threading
import weakref
from concurrent.futures import CancelledError

import numpy as np
import pytest

from models.store.history import History
from service.inference.execution_plan import Plan
from service.inference.served_model import ServedModel
from service.settings import Settings
from tests.support.networks import images, stored


def test_a_loaded_model_is_warm_and_describes_itself():
    model = stored("cnn")
    served = ServedModel(model, Settings(), Plan(streams=1, threads=2, batch=1))
    described = served.describe()
    assert described["tag"] == model.tag
    assert described["latency_ms"]["p95"] >= described["latency_ms"]["p50"] > 0
    assert described["card"]["labels"] == list(model.card.labels)
    kernel, bias = served.head()
    pixels = images(2, 32)
    outputs = served.run(pixels, ("logits", "embedding"))
    assert np.allclose(outputs["embedding"] @ kernel + bias, outputs["logits"], atol=1e-3)
    assert served.history() == History()
    served.activate()
    served.close()


def test_the_precision_and_runtime_are_the_settings(monkeypatch):
    served = ServedModel(stored("cnn"), Settings(precision="int8"), Plan(streams=1, threads=1, batch=1))
    assert served.info_labels[-2:] == ("int8", "openvino")
    slow = ServedModel(
        stored("cnn"), Settings(runtime="tensorflow", precision="int8"), Plan(streams=1, threads=1, batch=1)
    )
    assert slow.info_labels[-2:] == ("float32", "tensorflow")


def test_recent_images_set_the_latency():
    served = ServedModel(stored("cnn"), Settings(), Plan(streams=1, threads=1, batch=1))
    for _ in range(600):
        served.record(0.25)
    assert served.latency_ms() == {"p50": 250, "p95": 250}


@pytest.mark.parametrize("batch", [1, 4])
def test_its_memory_goes_with_the_last_who_holds_it(batch):
    served = ServedModel(stored("cnn"), Settings(), Plan(streams=1, threads=1, batch=batch))
    watched = weakref.ref(served.runtime)
    gc.disable()  # without waiting for the collector, which may not come for long
    try:
        served.retire()
        served.answer(lambda: images(1, 32)[0], ("logits",))
        del served
        assert watched() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("batch", [1, 4])
def test_an_image_whose_client_left_while_it_was_decoded_is_not_run(batch):
    served = ServedModel(stored("cnn"), Settings(), Plan(streams=1, threads=1, batch=batch))
    gone = threading.Event()

    def decode():
        gone.set()
        return images(1, 32)[0]

    with pytest.raises(CancelledError):
        served.answer(decode, ("logits",), gone.is_set)
    gone.clear()
    assert set(served.answer(lambda: images(1, 32)[0], ("logits",), gone.is_set)[0]) == {"logits"}
