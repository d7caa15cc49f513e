"""The TensorFlow runtime: slower, and the reference for OpenVINO's answers."""

import logging
import threading
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from models.arrays import Pixels
from models.card import Precision
from models.errors import CatseyeError
from models.network.classifier import load_classifier
from models.runtime.base import FAST_OUTPUTS, Outputs, check_answer, check_images, check_outputs, output_names
from models.store.store import KERAS_FILE, StoredModel, check_file

logger = logging.getLogger(__name__)


class TensorflowRuntime:
    """See ``models.runtime.base.Runtime``."""

    name = "tensorflow"
    precision: Precision = "float32"
    streams = 1

    def __init__(self, model: StoredModel, *, threads: int | None = None) -> None:
        if threads is not None:
            _set_threads(threads)
        if model.card.files:
            check_file(model, KERAS_FILE)
        self.outputs = output_names(model.card)
        self._size = model.card.input_size
        self._network = load_classifier(model.keras_path, model.card).output_model()
        self._lock = threading.Lock()
        self._maps: Any = None
        self._scores: Any = self._trace(FAST_OUTPUTS)
        check_answer(model, KERAS_FILE, self.run(np.zeros((1, *self._size, 3), np.uint8), FAST_OUTPUTS))

    def run(self, images: Pixels, outputs: Sequence[str] = ("logits",), *, alone: bool = False) -> Outputs:
        """See ``models.runtime.base.Runtime.run``; ``alone`` changes nothing here."""
        check_outputs(outputs, self.outputs)
        images = check_images(images, self._size)
        fast = all(name in FAST_OUTPUTS for name in outputs)
        function = self._scores if fast else self._with_maps()
        if function is None:
            raise CatseyeError("The runtime was closed before a run reached it. Send the request again.")
        answer = function(tf.constant(images))
        return {name: answer[name].numpy() for name in outputs}

    def close(self) -> None:
        """See ``models.runtime.base.Runtime.close``."""
        with self._lock:
            self._scores = self._maps = self._network = None

    def _with_maps(self) -> Any:
        with self._lock:
            if self._maps is None and self._network is not None:
                self._maps = self._trace(self.outputs)
            return self._maps

    def _trace(self, outputs: Sequence[str]) -> Any:
        """A concrete function, so that no later call traces again and threads can share it."""
        part = keras.Model(self._network.input, {name: self._network.output[name] for name in outputs})
        # With its weights as constants, TensorFlow folds the normalisations into the convolutions: a quarter to a
        # third less processor time an image (MobileNetV2 at 224 px), in batches of 1 and of 8.
        weights = [
            [variable.numpy() for variable in variables]
            for variables in (part.trainable_variables, part.non_trainable_variables)
        ]

        def forward(image: Any) -> Any:
            answer, _ = part.stateless_call(*weights, image, training=False)
            return answer

        signature = tf.TensorSpec((None, *self._size, 3), tf.uint8)
        return tf.function(forward, input_signature=[signature]).get_concrete_function()


def _set_threads(threads: int) -> None:
    if tf.config.threading.get_intra_op_parallelism_threads() == threads:
        return
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
    except RuntimeError:
        logger.warning("TensorFlow has started already, so it keeps its number of threads.")
