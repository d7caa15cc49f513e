"""The two phases of training: the new head alone, then the top of the base together with it.

Early stopping keeps the weights of the epoch with the lowest validation loss; the state before the first
epoch counts too, so that a phase can only improve on what it was given. After every epoch the whole state
goes to a checkpoint, and a run with the same seed that is resumed ends where it would have ended.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import keras
import numpy as np
from numpy.typing import NDArray

from models.network.classifier import LOGITS, Classifier
from training.features.frozen_trunk import Cut
from training.features.keras_dataset import Batches
from training.fit.checkpoint import Arrays, Checkpoint, Progress
from training.fit.distributed import Workers
from training.fit.layer_rates import Shares
from training.fit.loop import Loop, right_answers
from training.fit.optimizer import optimizer
from training.report.console import images_bar

Floats = NDArray[np.float32]
_SMALLEST_DEVIATION = 1e-3
_LEAST_OF_ITS_DEPTH = 0.5
"""Share of the middle deviation of its depth that a feature's counts as at least."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long and how fast one phase learns; the rate warms up over one epoch, then falls as a cosine."""

    phase: str
    title: str
    epochs: int
    patience: int
    learning_rate: float
    label_smoothing: float = 0.0
    loss: keras.losses.Loss | None = None
    """Instead of the cross-entropy with the labels; targets may then be wider than the logits."""
    shares: Shares = field(default_factory=dict)
    """Of the learning rate, for every weight that learns; layers that are not named have all of it."""
    clip_norm: float = 0.0
    """Norm that the gradient of a step may have, all variables together; 0: any."""


class StandardHead:
    """The classifier's last layer over standardised features, whose scale is folded back into its kernel.

    Features of several depths differ in size by orders of magnitude; standardised, one learning rate and
    one L2 suit all. A head with batch normalisation does this by itself and is trained as it is.
    """

    def __init__(self, classifier: Classifier, mean: Floats, deviation: Floats, *, l2: float, dropout: float) -> None:
        self.classifier = classifier
        self.own = len(classifier.head_layers()) > (2 if dropout else 1)
        self.mean, self.deviation = mean, _scales(classifier, deviation)
        self._dropout = keras.layers.Dropout(dropout)
        # From zero the problem is convex and the start is the same for every seed.
        self._dense = keras.layers.Dense(
            classifier.classes, kernel_initializer="zeros", kernel_regularizer=keras.regularizers.L2(l2)
        )

    def __call__(self, embedding: keras.KerasTensor) -> keras.KerasTensor:
        """Embedding (batch, embedding_size) -> logits (batch, classes)."""
        if self.own:
            for layer in self.classifier.head_layers():
                embedding = layer(embedding)
            return embedding
        standard = (embedding - self.mean) * (1 / self.deviation).astype(np.float32)
        return self._dense(self._dropout(standard))

    def model(self, cut: Cut | None = None) -> keras.Model:
        """What crosses the cut -> logits; without a cut: embedding -> logits."""
        if cut is None:
            embedding = keras.Input((self.classifier.head.embedding_size,), name="features")
            return keras.Model(embedding, self(embedding), name="head")
        upper = cut.upper()
        inputs = upper.inputs if len(upper.inputs) > 1 else upper.inputs[0]
        return keras.Model(inputs, self(upper.output), name="top")

    def fold(self) -> None:
        """Write what was learned into the classifier's own logits layer."""
        if self.own:
            return
        kernel, bias = self._dense.get_weights()
        kernel = kernel / self.deviation[:, None]
        self.classifier.model.get_layer(LOGITS).set_weights([kernel, bias - self.mean @ kernel])


def _scales(classifier: Classifier, deviation: Floats) -> Floats:
    """What features are divided by: their deviations, but for those that hardly vary on these images.

    A channel that is nearly always silent would be multiplied by hundreds, and as soon as fine-tuning wakes it the
    logits are beyond all measure.
    """
    least = np.full_like(deviation, _SMALLEST_DEVIATION * max(1e-6, deviation.max()))
    for pool in classifier.head.pools:
        depth = slice(pool.start, pool.stop)
        least[depth] = np.maximum(least[depth], _LEAST_OF_ITS_DEPTH * np.median(deviation[depth]))
    return np.maximum(deviation, least)


def fit(
    model: keras.Model,
    train: Batches,
    validation: Batches | None,
    schedule: Schedule,
    checkpoint: Checkpoint,
    workers: Workers | None = None,
) -> Progress:
    """Train ``model`` (which ends in logits) and leave the best epoch's weights in it.

    Without validation data the last epoch counts as the best. Whatever the checkpoint holds is gone on with.
    With ``workers``, each of them calls this alike, and all end with the same weights.
    """
    if workers is None:
        return _fit(model, train, validation, schedule, checkpoint)
    with workers.together():
        progress = _fit(workers.copy(model), train, validation, schedule, checkpoint, workers)
    _put(model.variables, progress.arrays["best"])
    return progress


def _fit(
    model: keras.Model,
    train: Batches,
    validation: Batches | None,
    schedule: Schedule,
    checkpoint: Checkpoint,
    workers: Workers | None = None,
) -> Progress:
    steps = max(1, len(train))
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps * max(1, schedule.epochs - 1), warmup_target=schedule.learning_rate, warmup_steps=steps
    )
    model.compile(
        optimizer=optimizer(
            model,
            rate,
            schedule.shares,
            clip_norm=schedule.clip_norm,
            replicas=workers.replicas if workers is not None else 1,
        ),
        loss=schedule.loss
        or keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=schedule.label_smoothing),
        weighted_metrics=[keras.metrics.MeanMetricWrapper(right_answers, name="accuracy")],
        jit_compile=False,  # XLA makes depthwise networks ten times slower on a CPU
    )
    model.optimizer.build(model.trainable_variables)
    loop = Loop(workers, model) if workers is not None else None
    progress = checkpoint.load(schedule.phase)
    resumed = progress is not None
    if workers is not None:
        resumed = not workers.everywhere(progress is None)
    if progress is None:
        progress = _start(model, None if resumed else validation, schedule.phase, loop)
    if workers is not None:
        workers.share_progress(progress)
    if resumed or workers is not None:
        _put(model.variables, progress.arrays["weights"])
        _put(model.optimizer.variables, progress.arrays["optimizer"])
    train.epoch = progress.epoch
    if not (progress.finished or _out_of_patience(progress, schedule)) and progress.epoch < schedule.epochs:
        with images_bar(schedule.title, train.images * schedule.epochs) as advance:
            advance(train.images * progress.epoch, "")
            epochs = _Epochs(progress, schedule, checkpoint, validation is not None, train, advance)
            if loop is not None:
                _together(loop, model, train, validation, range(progress.epoch, schedule.epochs), epochs)
            else:
                model.fit(
                    train,
                    validation_data=validation,
                    epochs=schedule.epochs,
                    initial_epoch=progress.epoch,
                    shuffle=False,
                    verbose=0,
                    callbacks=[epochs],
                )
    if not progress.finished:
        progress.finished = True
        checkpoint.save(progress)
    _put(model.variables, progress.arrays["best"])
    return progress


class _Epochs(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """After each epoch: the figures, the best weights, the checkpoint, and whether to stop."""

    def __init__(
        self,
        progress: Progress,
        schedule: Schedule,
        checkpoint: Checkpoint,
        validated: bool,
        train: Batches,
        advance: Callable[[int, str], None],
    ) -> None:
        super().__init__()
        self._progress, self._schedule, self._checkpoint = progress, schedule, checkpoint
        self._validated, self._train, self._advance = validated, train, advance
        self._seen = 0

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
        weights = _copy(self.model.variables)
        best = progress.arrays["best"]
        loss = figures.get("val_loss", math.inf)
        if not self._validated or loss < progress.best:
            progress.best, progress.best_epoch, best = loss, progress.epoch, weights
        progress.arrays = {"weights": weights, "best": best, "optimizer": _copy(self.model.optimizer.variables)}
        self._checkpoint.save(progress)
        if self._validated and _out_of_patience(progress, self._schedule):
            self.model.stop_training = True


def _together(
    loop: Loop, model: keras.Model, train: Batches, validation: Batches | None, numbers: range, epochs: _Epochs
) -> None:
    """What ``model.fit`` does, with all workers; they have the same figures, so they stop alike."""
    epochs.set_model(model)
    model.stop_training = False
    for number in numbers:
        epochs.on_epoch_begin(number)
        # Keras counts one epoch before the first, when it looks at the shapes of the batches.
        train.epoch = number + 1
        figures = loop.epoch(train, epochs.on_train_batch_end)
        if validation is not None:
            figures |= {f"val_{key}": value for key, value in loop.evaluate(validation).items()}
        epochs.on_epoch_end(number, figures)
        if model.stop_training:
            break


def _start(model: keras.Model, validation: Batches | None, phase: str, loop: Loop | None) -> Progress:
    best = math.inf
    if validation is not None and loop is not None:
        best = loop.evaluate(validation)["loss"]
    elif validation is not None:
        best = float(model.evaluate(validation, verbose=0, return_dict=True)["loss"])
    weights = _copy(model.variables)
    return Progress(
        phase,
        best=best,
        arrays={"weights": weights, "best": weights, "optimizer": _copy(model.optimizer.variables)},
    )


def _out_of_patience(progress: Progress, schedule: Schedule) -> bool:
    return math.isfinite(progress.best) and progress.epoch - progress.best_epoch >= schedule.patience


def _copy(variables: list[keras.Variable]) -> Arrays:
    return [keras.ops.convert_to_numpy(variable).copy() for variable in variables]


def _put(variables: list[keras.Variable], values: Arrays) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
