"""One phase of training: the new head alone, or the unfrozen layers together with it.

Early stopping keeps the weights of the epoch with the lowest validation loss. The state before the first epoch counts
too, so a phase never ends worse than it began. After every epoch the whole state is written to a checkpoint, from
which a resumed run continues to the same result.
"""

import math
from dataclasses import dataclass, field

import keras
import numpy as np
from numpy.typing import NDArray

from models.network.classifier import LOGITS, Classifier
from training.console import images_bar
from training.features.frozen_trunk import FrozenTrunk
from training.features.keras_dataset import Batches
from training.fit.checkpoint import Arrays, Checkpoint, Progress
from training.fit.distributed import Loop, Workers
from training.fit.optimizer import LayerRates, optimizer

Floats = NDArray[np.float32]
_SMALLEST_DEVIATION = 1e-3
_SMALLEST_OF_ITS_DEPTH = 0.5
"""A feature's deviation counts as at least this part of the median deviation of its depth."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Length and learning rate of one phase; the rate warms up over one epoch, then follows a cosine decay."""

    phase: str
    title: str
    epochs: int
    patience: int
    learning_rate: float
    label_smoothing: float = 0.0
    loss: keras.losses.Loss | None = None
    """In place of the cross-entropy with the labels; targets may then be wider than the logits."""
    layer_rates: LayerRates = field(default_factory=dict)
    """Factors of the learning rate; layers that are not named have all of it."""
    clip_norm: float = 0.0
    """Gradients are clipped to this global norm; 0 does not clip."""


class StandardHead:
    """The classifier's last layer over standardised features; ``fold`` puts the scale back into its kernel.

    Features of several depths differ in size by orders of magnitude; standardised, one learning rate and one L2
    suit all. A head with batch normalisation does this itself and is trained as it is.
    """

    def __init__(self, classifier: Classifier, mean: Floats, deviation: Floats, *, l2: float, dropout: float) -> None:
        self.classifier = classifier
        self.own = len(classifier.head_layers()) > (2 if dropout else 1)
        self.mean, self.deviation = mean, _scales(classifier, deviation)
        self._dropout = keras.layers.Dropout(dropout)
        # With zeros the problem is convex and its start does not depend on the seed.
        self._dense = keras.layers.Dense(
            classifier.classes, kernel_initializer="zeros", kernel_regularizer=keras.regularizers.L2(l2)
        )
        if self.own:
            classifier.model.get_layer(LOGITS).kernel.regularizer = keras.regularizers.L2(l2)

    def __call__(self, embedding: keras.KerasTensor) -> keras.KerasTensor:
        """Embedding (batch, embedding_size) -> logits (batch, classes)."""
        if self.own:
            for layer in self.classifier.head_layers():
                embedding = layer(embedding)
            return embedding
        standard = (embedding - self.mean) * (1 / self.deviation).astype(np.float32)
        return self._dense(self._dropout(standard))

    def model(self, trunk: FrozenTrunk | None = None) -> keras.Model:
        """Outputs of the trunk -> logits; without a trunk: embedding -> logits."""
        if trunk is None:
            embedding = keras.Input((self.classifier.head.embedding_size,), name="features")
            return keras.Model(embedding, self(embedding), name="head")
        trained = trunk.trained_model()
        inputs = trained.inputs if len(trained.inputs) > 1 else trained.inputs[0]
        return keras.Model(inputs, self(trained.output), name="top")

    def fold(self) -> None:
        """Write the trained weights into the classifier's own logits layer."""
        if self.own:
            return
        kernel, bias = self._dense.get_weights()
        kernel = kernel / self.deviation[:, None]
        self.classifier.model.get_layer(LOGITS).set_weights([kernel, bias - self.mean @ kernel])


def _scales(classifier: Classifier, deviation: Floats) -> Floats:
    """What features are divided by: their deviations, raised to a minimum.

    A channel that is nearly always zero would be multiplied by hundreds, and the logits would explode as soon as
    fine-tuning activates it.
    """
    smallest = np.full_like(deviation, _SMALLEST_DEVIATION * max(1e-6, deviation.max()))
    for pool in classifier.head.pools:
        depth = slice(pool.start, pool.stop)
        smallest[depth] = np.maximum(smallest[depth], _SMALLEST_OF_ITS_DEPTH * np.median(deviation[depth]))
    return np.maximum(deviation, smallest)


def fit(
    model: keras.Model,
    train: Batches,
    validation: Batches | None,
    schedule: Schedule,
    checkpoint: Checkpoint,
    workers: Workers | None = None,
) -> Progress:
    """Train ``model``, which ends in logits, and leave the best epoch's weights in it.

    Without validation data the last epoch is the best. Continues from the checkpoint, where there is one. Every
    process of ``workers`` has to call this alike, and all end with the same weights.
    """
    workers = workers or Workers()
    if workers.replicas == 1:
        return _Phase(model, train, validation, schedule, checkpoint, workers).run()
    with workers.scope():
        copy = keras.models.clone_model(model)  # With variables on every device.
        copy.set_weights(model.get_weights())
        progress = _Phase(copy, train, validation, schedule, checkpoint, workers).run()
    _put(model.variables, progress.arrays["best"])
    return progress


class _Phase(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """One phase. As a callback it keeps figures, best weights and checkpoint, and stops early."""

    def __init__(
        self,
        model: keras.Model,
        train: Batches,
        validation: Batches | None,
        schedule: Schedule,
        checkpoint: Checkpoint,
        workers: Workers,
    ) -> None:
        super().__init__()
        self._network, self._train, self._validation = model, train, validation
        self._schedule, self._checkpoint, self._workers = schedule, checkpoint, workers
        for batches in filter(None, (train, validation)):
            batches.replicas = workers.replicas
        self._compile()
        self._loop = Loop(workers, model) if workers.count > 1 else None

    def run(self) -> Progress:
        """Train to the end, with the best weights in the model."""
        model, schedule = self._network, self._schedule
        progress = self._progress = self._begin()
        self._train.epoch = progress.epoch
        if not (progress.finished or self._out_of_patience()) and progress.epoch < schedule.epochs:
            with images_bar(schedule.title, self._train.images * schedule.epochs) as self._advance:
                self._advance(self._train.images * progress.epoch, "")
                self._fit()
        if not progress.finished:
            progress.finished = True
            self._checkpoint.save(progress)
        _put(model.variables, progress.arrays["best"])
        return progress

    def _compile(self) -> None:
        schedule, model, steps = self._schedule, self._network, max(1, len(self._train))
        rate = keras.optimizers.schedules.CosineDecay(
            0.0, steps * max(1, schedule.epochs - 1), warmup_target=schedule.learning_rate, warmup_steps=steps
        )
        replicas, smoothing = self._workers.replicas, schedule.label_smoothing
        model.compile(
            optimizer=optimizer(model, rate, schedule.layer_rates, clip_norm=schedule.clip_norm, replicas=replicas),
            loss=schedule.loss or keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing),
            weighted_metrics=[keras.metrics.MeanMetricWrapper(right_predictions, name="accuracy")],
            jit_compile=False,  # XLA makes depthwise networks ten times slower on a CPU
        )
        model.optimizer.build(model.trainable_variables)

    def _begin(self) -> Progress:
        """The state that the checkpoint holds, the same in every process, or that before the first epoch."""
        model, workers = self._network, self._workers
        progress = self._checkpoint.load(self._schedule.phase)
        resumed = not workers.everywhere(progress is None)
        if progress is None:
            best = math.inf if resumed or self._validation is None else self._evaluate(self._validation)["loss"]
            weights = _copy(model.variables)
            arrays = {"weights": weights, "best": weights, "optimizer": _copy(model.optimizer.variables)}
            progress = Progress(self._schedule.phase, best=best, arrays=arrays)
        if workers.count > 1:
            _share(progress, workers)
        if resumed or workers.count > 1:
            _put(model.variables, progress.arrays["weights"])
            _put(model.optimizer.variables, progress.arrays["optimizer"])
        return progress

    def _fit(self) -> None:
        """Keras's ``fit``; over several machines the same steps by ``Loop``."""
        first, last = self._progress.epoch, self._schedule.epochs
        if self._loop is None:
            self._network.fit(
                self._train,
                validation_data=self._validation,
                epochs=last,
                initial_epoch=first,
                shuffle=False,
                verbose=0,
                callbacks=[self],
            )
            return
        self.set_model(self._network)
        self.model.stop_training = False
        for number in range(first, last):
            self.on_epoch_begin(number)
            # Keras counts one epoch before the first, when it looks at the shapes of the batches.
            self._train.epoch = number + 1
            figures = self._loop.epoch(self._train, learn=True, after_batch=self.on_train_batch_end)
            if self._validation is not None:
                figures |= {f"val_{key}": value for key, value in self._evaluate(self._validation).items()}
            self.on_epoch_end(number, figures)
            if self.model.stop_training:
                break

    def _evaluate(self, batches: Batches) -> dict[str, float]:
        if self._loop is not None:
            return self._loop.epoch(batches, learn=False, after_batch=lambda batch: None)
        figures = self._network.evaluate(batches, verbose=0, return_dict=True)
        return {key: float(value) for key, value in figures.items()}

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._seen = 0

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        images = min(self._train.batch_size, self._train.images - self._seen)
        self._seen += images
        self._advance(images, "")

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        figures = {key: float(value) for key, value in (logs or {}).items()}
        progress = self._progress
        progress.epoch = epoch + 1
        progress.history.append({"epoch": float(epoch + 1), **figures})
        self._advance(0, " ".join(f"{key} {value:.3f}" for key, value in figures.items() if "loss" in key))
        weights, best = _copy(self.model.variables), progress.arrays["best"]
        loss = figures.get("val_loss", math.inf)
        if self._validation is None or loss < progress.best:
            progress.best, progress.best_epoch, best = loss, progress.epoch, weights
        progress.arrays = {"weights": weights, "best": best, "optimizer": _copy(self.model.optimizer.variables)}
        self._checkpoint.save(progress)
        if self._validation is not None and self._out_of_patience():
            self.model.stop_training = True

    def _out_of_patience(self) -> bool:
        progress = self._progress
        return math.isfinite(progress.best) and progress.epoch - progress.best_epoch >= self._schedule.patience


def right_predictions(targets: keras.KerasTensor, logits: keras.KerasTensor) -> keras.KerasTensor:
    """1 (batch,) where the predicted label is the target's; a teacher's targets after the labels' do not count."""
    return keras.metrics.categorical_accuracy(targets[:, : logits.shape[-1]], logits)


def _share(progress: Progress, workers: Workers) -> None:
    """Replace this process's state by the chief's."""
    facts = [progress.epoch, progress.finished, progress.best, progress.best_epoch]
    epoch, finished, progress.best, best_epoch = workers.chiefs(np.array(facts, np.float64)).tolist()
    progress.epoch, progress.finished, progress.best_epoch = int(epoch), bool(finished), int(best_epoch)
    arrays = progress.arrays.items()
    progress.arrays = {name: [workers.chiefs(a).astype(a.dtype) for a in each] for name, each in arrays}


def _copy(variables: list[keras.Variable]) -> Arrays:
    return [keras.ops.convert_to_numpy(variable).copy() for variable in variables]


def _put(variables: list[keras.Variable], values: Arrays) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
