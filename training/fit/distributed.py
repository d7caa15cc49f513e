"""Training on several devices or machines through ``tf.distribute``.

Every replica (one device of one process) learns from its own part of each batch; gradients are summed over all, so a
step is that of one process with the whole batch. On one machine Keras's ``model.fit`` does this. Over several machines
it cannot (https://github.com/keras-team/keras/issues/20585), so ``Loop`` takes its place. Worker 0 is the chief: it
alone keeps checkpoints, report and model.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from models.errors import BadParameter, CatseyeError
from training.features.keras_dataset import Batches


@dataclass(frozen=True)
class Workers:
    """``count`` processes that train one network together, seen from the process ``number``. Default: a single one."""

    strategy: tf.distribute.Strategy = field(default_factory=tf.distribute.get_strategy)
    number: int = 0
    count: int = 1

    @property
    def chief(self) -> bool:
        """Whether this process keeps the results."""
        return self.number == 0

    @property
    def replicas(self) -> int:
        """Devices of all processes."""
        return int(self.strategy.num_replicas_in_sync)

    def total(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """The sum of every process's ``values``, of the same shape in all."""
        values = np.asarray(values, np.float64)
        if self.count == 1:
            return values
        local, zeros = self.replicas // self.count, np.zeros_like(values)
        each = self.strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(zeros if context.replica_id_in_sync_group % local else values)
        )
        with self.scope():
            return np.asarray(self.strategy.reduce("SUM", each, axis=None))

    def chiefs(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """The chief's ``values``, of the same shape in all processes."""
        return self.total(values if self.chief else np.zeros(np.shape(values)))

    def everywhere(self, fact: bool) -> bool:
        """Whether it is true in every process."""
        return int(self.total(np.array(fact))) == self.count

    @contextmanager
    def scope(self) -> Iterator[None]:
        """The strategy's scope; CatseyeError where another process is lost."""
        try:
            with self.strategy.scope():
                yield
        except tf.errors.OpError as error:
            if self.count == 1:
                raise
            raise CatseyeError(
                f"Training stopped, probably because another worker did ({str(error)[:200]}). "
                "Start all workers again with --resume; they continue from the last epoch."
            ) from error


class Loop:
    """``model.fit`` over several machines, for a model that was built and compiled in the scope of the workers."""

    def __init__(self, workers: Workers, model: keras.Model) -> None:
        self._strategy, self._replicas, self._model = workers.strategy, workers.replicas, model
        self._step = tf.function(self._all_replicas, reduce_retracing=True)

    def epoch(self, batches: Batches, *, learn: bool, after_batch: Callable[[int], None]) -> dict[str, float]:
        """``accuracy`` and ``loss`` of every batch once, the same in every process and as those of Keras."""
        batches.replicas, sums = self._replicas, np.zeros(4)
        for index in range(len(batches)):
            images = batches.size(index)
            parts = self._strategy.experimental_distribute_values_from_function(
                lambda context, index=index: batches.part(index, context.replica_id_in_sync_group)
            )
            sums += images * np.asarray(self._step(parts, tf.constant(images, tf.float32), learn), np.float64)
            after_batch(index)
        loss, decay, right, weight = sums.tolist()
        return {"accuracy": right / max(weight, 1e-12), "loss": (loss + decay) / batches.images}

    def _all_replicas(self, parts: object, images: tf.Tensor, learn: bool) -> tf.Tensor:
        each = self._strategy.run(self._one_replica, args=(parts, images, learn))
        return self._strategy.reduce("SUM", each, axis=None)

    def _one_replica(self, part: tuple[tf.Tensor, ...], images: tf.Tensor, learn: bool) -> tf.Tensor:
        """(4,): this replica's part of the loss, of the regularization, of right predictions, and of weight."""
        model, (inputs, targets, weights) = self._model, part
        with tf.GradientTape() as tape:
            logits = model(inputs, training=learn)
            loss = tf.reduce_sum(model.loss.call(targets, logits) * weights) / images
            decay = tf.add_n(model.losses or [tf.zeros(())]) / self._replicas
            total = loss + decay
        if learn:  # Keras's optimizer sums the gradients of all replicas.
            model.optimizer.apply(tape.gradient(total, model.trainable_variables), model.trainable_variables)
        right = keras.metrics.categorical_accuracy(targets[:, : logits.shape[-1]], logits)
        return tf.stack([loss, decay, tf.reduce_sum(right * weights) / images, tf.reduce_sum(weights) / images])


def workers_here() -> Workers:
    """The workers that ``TF_CONFIG`` names, else all devices of this machine.

    Call it before TensorFlow runs anything. It waits for the other workers. Raises BadParameter for a wrong
    ``TF_CONFIG``, and CatseyeError where a worker does not reach the others.
    """
    number, count = _cluster()
    if count > 1:
        try:
            strategy = tf.distribute.MultiWorkerMirroredStrategy()
        except (tf.errors.OpError, RuntimeError) as error:
            raise CatseyeError(
                f"Worker {number} does not reach the others ({str(error)[:200]}). "
                "Start every worker that TF_CONFIG names, each at a free port that the others reach."
            ) from error
        # TensorFlow installs a handler that ignores SIGTERM; this restores the default.
        signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))
        return Workers(strategy, number, count)
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    names = [device.name for device in devices]
    return Workers(tf.distribute.MirroredStrategy(names) if len(names) > 1 else tf.distribute.get_strategy())


def _cluster() -> tuple[int, int]:
    """This process's number, the chief's being 0, and how many there are, as ``TF_CONFIG`` says."""
    if not os.environ.get("TF_CONFIG"):
        return 0, 1
    try:
        resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
        cluster = resolver.cluster_spec().as_dict()
        addresses = [*cluster.get("chief", []), *cluster.get("worker", [])]
        return addresses.index(cluster[resolver.task_type][resolver.task_id]), len(addresses)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        example = '{"cluster": {"worker": ["host1:4000", "host2:4000"]}, "task": {"type": "worker", "index": 0}}'
        raise BadParameter(f"TF_CONFIG cannot be read ({str(error)[:200]}). It looks like {example}.") from error
