"""More than one device or machine, through ``tf.distribute``: who takes part, and what all of them agree on.

Every replica (a device of a process) learns from its own share of each batch; gradients and figures are summed
over all, so that the step is that of one process with the whole batch. One of the workers is the chief: it alone
keeps checkpoints, report and model.
"""

import json
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from models.errors import BadParameter, CatseyeError
from training.fit.checkpoint import Progress

_CONFIG = "TF_CONFIG"
_LOST = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
    tf.errors.UnavailableError,
)
"""What TensorFlow raises where another process has gone, depending on what it was waiting for."""


@dataclass(frozen=True)
class Workers:
    """The processes and devices that train one network together, seen from one of the processes."""

    strategy: tf.distribute.Strategy
    number: int = 0
    """Of this process; 0 is the chief."""
    count: int = 1
    """Processes."""

    @property
    def chief(self) -> bool:
        """Whether this process keeps what is learned."""
        return self.number == 0

    @property
    def replicas(self) -> int:
        """Devices of all processes, each of which learns from a share of every batch."""
        return int(self.strategy.num_replicas_in_sync)

    def total(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """The sum of every process's ``values``, of one shape in all."""
        values = np.asarray(values, np.float64)
        if self.count == 1:
            return values
        local = self.replicas // self.count
        each = self.strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(
                values if context.replica_id_in_sync_group % local == 0 else np.zeros_like(values)
            )
        )
        with self.together():
            summed: NDArray[np.float64] = self.strategy.reduce("SUM", each, axis=None).numpy()
        return summed

    def chiefs(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """The chief's ``values``, of one shape in all processes."""
        return self.total(values if self.chief else np.zeros(np.shape(values)))

    def everywhere(self, fact: bool) -> bool:
        """Whether it is so in every process."""
        return int(self.total(np.array(fact))) == self.count

    def agree_on(self, facts: object) -> None:
        """BadParameter in every process unless ``facts``, that JSON can hold, are the same in all."""
        number = int.from_bytes(sha256(json.dumps(facts, sort_keys=True).encode()).digest()[:6], "big")
        if not self.everywhere(number == int(self.chiefs(np.array(number)))):
            raise BadParameter(
                "The workers have different settings or images. Start each with the same command on the same images."
            )

    def share_progress(self, progress: Progress) -> None:
        """Put the chief's state of a phase, which it may have read from a checkpoint, in place of this process's."""
        facts = [progress.epoch, progress.finished, progress.best, progress.best_epoch]
        epoch, finished, best, best_epoch = self.chiefs(np.array(facts, np.float64)).tolist()
        progress.epoch, progress.finished = int(epoch), bool(finished)
        progress.best, progress.best_epoch = best, int(best_epoch)
        progress.arrays = {
            name: [self.chiefs(array).astype(array.dtype) for array in arrays]
            for name, arrays in progress.arrays.items()
        }

    def copy(self, model: keras.Model) -> keras.Model:
        """The same network with variables on every device; those of ``model`` itself stay on one."""
        with self.strategy.scope():
            copy = keras.models.clone_model(model)
            copy.set_weights(model.get_weights())
        return copy

    @contextmanager
    def together(self) -> Iterator[None]:
        """Turn what TensorFlow raises where a worker is lost into one sentence."""
        try:
            with self.strategy.scope():
                yield
        except _LOST as error:
            raise CatseyeError(
                "A worker was lost, so training cannot go on. "
                "Start all workers again with --resume; they go on from the last epoch."
            ) from error


def workers_here() -> Workers | None:
    """All that ``TF_CONFIG`` names, else all devices of this machine; None for one process on one device.

    To be called before TensorFlow runs anything. Waits for the other workers; raises BadParameter for a wrong
    ``TF_CONFIG`` and CatseyeError where the workers do not come together.
    """
    text = os.environ.get(_CONFIG)
    number, addresses = _place(text) if text else (0, [])
    if len(addresses) > 1:
        try:
            strategy = tf.distribute.MultiWorkerMirroredStrategy()
            # TensorFlow takes SIGTERM for itself and does not end; it is to end this process, as everywhere else.
            signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))
            return Workers(strategy, number, len(addresses))
        except (tf.errors.OpError, RuntimeError) as error:
            raise CatseyeError(
                f"Worker {number} at {addresses[number]} does not reach the others ({_first_line(error)}). "
                f"Start every worker that {_CONFIG} names, each at a free port that the others reach."
            ) from error
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    if len(devices) > 1:
        return Workers(tf.distribute.MirroredStrategy([device.name for device in devices]))
    return None


def _place(text: str) -> tuple[int, list[str]]:
    """This process's number and the addresses of all, the chief first, as ``TF_CONFIG`` gives them."""
    try:
        config = json.loads(text)
        cluster: Mapping[str, Sequence[str]] = config["cluster"]
        task = str(config["task"]["type"])
        index = int(config["task"]["index"])
        addresses = [str(address) for kind in ("chief", "worker") for address in cluster.get(kind, ())]
        number = index + (len(cluster.get("chief", ())) if task == "worker" else 0)
        if task not in ("chief", "worker") or not 0 <= index < len(cluster[task]):
            raise ValueError(f"there is no {task} {index}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadParameter(
            f'{_CONFIG} cannot be read ({_first_line(error)}). It looks like {{"cluster": {{"worker": '
            '["host1:4000", "host2:4000"]}, "task": {"type": "worker", "index": 0}}.'
        ) from error
    return number, addresses


def _first_line(error: Exception) -> str:
    return (str(error).strip().partition("\n")[0] or type(error).__name__)[:200]
