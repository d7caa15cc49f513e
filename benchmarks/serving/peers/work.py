"""What every peer does between a body and an answer: decode, run, name the best label.

Environment: ``PEER_MODEL`` (folder of a stored model), ``PEER_NETWORK`` (``keras`` or ``int8``), ``PEER_DECODE``
(``scaled``, this project's decode, or ``plain``, the three lines that everybody writes), and the settings that
the sweep moves: ``PEER_WORKERS``, ``PEER_THREADS``, ``PEER_BATCH``, ``PEER_PORT``.
"""

import io
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from models.image.decode import decode

SIZE = (224, 224)
FOLDER = Path(os.environ.get("PEER_MODEL", "."))
NETWORK = os.environ.get("PEER_NETWORK", "int8")
PORT = int(os.environ.get("PEER_PORT", "0"))
WORKERS = int(os.environ.get("PEER_WORKERS", "1"))
THREADS = int(os.environ.get("PEER_THREADS", "4"))
BATCH = int(os.environ.get("PEER_BATCH", "1"))
WAIT_MS = 2
"""Longest wait for a batch to fill, where a peer takes one."""


def pixels_of(data: bytes) -> Any:
    """uint8 (224, 224, 3) of an image file."""
    if os.environ.get("PEER_DECODE") == "plain":
        image = Image.open(io.BytesIO(data)).convert("RGB")
        return np.asarray(image.resize((SIZE[1], SIZE[0]), Image.Resampling.BILINEAR))
    return decode(data, SIZE)


def open_network() -> Callable[[Any], Any]:
    """A function from pixels (batch, 224, 224, 3) to logits (batch, labels), run once already."""
    run = _keras() if NETWORK == "keras" else _openvino()
    run(np.zeros((1, *SIZE, 3), np.uint8))
    if BATCH > 1:
        run(np.zeros((BATCH, *SIZE, 3), np.uint8))
    return run


def answer(logits: Any) -> dict[str, object]:
    """What a peer replies for one image."""
    powers = np.exp(logits - logits.max())
    shares = powers / powers.sum()
    best = int(shares.argmax())
    return {"label": best, "probability": float(shares[best])}


def _keras() -> Callable[[Any], Any]:
    import keras
    import tensorflow as tf

    if WORKERS > 1 or (THREADS > 1 and BATCH == 1):
        # Runs side by side: each one core, or they would run on each other's.
        tf.config.threading.set_intra_op_parallelism_threads(1)
    model = keras.saving.load_model(FOLDER / "model.keras", compile=False)
    # A traced function is several times as fast as ``model.predict``.
    traced = tf.function(
        lambda images: model(images, training=False), input_signature=[tf.TensorSpec((None, *SIZE, 3), tf.uint8)]
    )
    return lambda images: traced(tf.constant(images)).numpy()


def _openvino() -> Callable[[Any], Any]:
    import openvino

    core = openvino.Core()
    settings: dict[str, Any] = {"PERFORMANCE_HINT": "THROUGHPUT" if WORKERS == 1 else "LATENCY"}
    if WORKERS > 1:
        # Each process one core: pinned or greedy, they would run on each other's.
        settings |= {"INFERENCE_NUM_THREADS": 1, "ENABLE_CPU_PINNING": False}
    compiled = core.compile_model(core.read_model(FOLDER / "openvino" / "int8.xml"), "CPU", settings)
    place = next(index for index, port in enumerate(compiled.outputs) if port.get_any_name() == "logits")
    own = threading.local()

    def run(images: Any) -> Any:
        if not hasattr(own, "request"):
            own.request = compiled.create_infer_request()
        own.request.infer([images], share_inputs=True)
        return own.request.get_output_tensor(place).data

    return run
