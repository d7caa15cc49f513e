"""Training steps shared by several devices or machines, in place of Keras's ``model.fit``.

Keras's own cannot run over several machines (https://github.com/keras-team/keras/issues/20585). The figures are
those of Keras on one device: the loss of a batch is the weighted sum over its images divided by their number.
"""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from training.features.keras_dataset import Batches
from training.fit.distributed import Workers


class Loop:
    """One network on all replicas; the model is compiled, and has been copied by ``Workers.copy``."""

    def __init__(self, workers: Workers, model: keras.Model) -> None:
        self._workers, self._model = workers, model
        self._learn = tf.function(self._learning, reduce_retracing=True)
        self._look = tf.function(self._looking, reduce_retracing=True)

    def epoch(self, batches: Batches, after_batch: Callable[[int], None]) -> dict[str, float]:
        """Learn from every batch once; ``accuracy`` and ``loss``, the same in every process."""
        return self._over(batches, self._learn, after_batch)

    def evaluate(self, batches: Batches) -> dict[str, float]:
        """``accuracy`` and ``loss`` without learning, the same in every process."""
        return self._over(batches, self._look, lambda batch: None)

    def _over(
        self, batches: Batches, step: Callable[..., tf.Tensor], after_batch: Callable[[int], None]
    ) -> dict[str, float]:
        sums: NDArray[np.float64] = np.zeros(4)
        for index in range(len(batches)):
            images = batches.size(index)
            figures = step(self._shares(batches, index), tf.constant(images, tf.float32))
            sums += images * figures.numpy().astype(np.float64)
            after_batch(index)
        loss, decay, right, weight = sums.tolist()
        return {"accuracy": right / max(weight, 1e-12), "loss": (loss + decay) / batches.images}

    def _shares(self, batches: Batches, index: int) -> object:
        """Every local replica's share of a batch."""
        replicas = self._workers.replicas
        return self._workers.strategy.experimental_distribute_values_from_function(
            lambda context: keras.tree.map_structure(
                tf.constant, batches.share(index, context.replica_id_in_sync_group, replicas)
            )
        )

    def _learning(self, shares: object, images: tf.Tensor) -> tf.Tensor:
        return self._summed(self._learning_here, shares, images)

    def _looking(self, shares: object, images: tf.Tensor) -> tf.Tensor:
        return self._summed(self._looking_here, shares, images)

    def _summed(self, step: Callable[..., tf.Tensor], shares: object, images: tf.Tensor) -> tf.Tensor:
        strategy = self._workers.strategy
        return strategy.reduce("SUM", strategy.run(step, args=(shares, images)), axis=None)

    def _learning_here(self, share: tuple[tf.Tensor, ...], images: tf.Tensor) -> tf.Tensor:
        variables = self._model.trainable_variables
        with tf.GradientTape() as tape:
            figures = self._figures(share, images, training=True)
            loss = figures[0] + figures[1]
        # Keras's optimizer sums the gradients of all replicas.
        self._model.optimizer.apply(tape.gradient(loss, variables), variables)
        return figures

    def _looking_here(self, share: tuple[tf.Tensor, ...], images: tf.Tensor) -> tf.Tensor:
        return self._figures(share, images, training=False)

    def _figures(self, share: tuple[tf.Tensor, ...], images: tf.Tensor, *, training: bool) -> tf.Tensor:
        """(4,): this replica's part of the loss, of what the weights add to it, of right answers, and of weight."""
        inputs, targets, weights = share
        logits = self._model(inputs, training=training)
        wrong = tf.reduce_sum(self._model.loss.call(targets, logits) * weights)
        right = tf.reduce_sum(right_answers(targets, logits) * weights)
        # Every replica has all the weights, so each adds its share of what they cost.
        decay = tf.add_n(self._model.losses or [tf.zeros(())]) / self._workers.replicas
        return tf.stack([wrong / images, decay, right / images, tf.reduce_sum(weights) / images])


def right_answers(targets: keras.KerasTensor, logits: keras.KerasTensor) -> keras.KerasTensor:
    """1 (batch,) where the likeliest label is the wanted one; a teacher's targets after the labels' do not count."""
    return keras.metrics.categorical_accuracy(targets[:, : logits.shape[-1]], logits)
