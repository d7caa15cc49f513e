"""A stored classifier as a teacher: its outputs for the training images, and the distillation loss.

Hinton et al. 2015, "Distilling the Knowledge in a Neural Network": the student learns the labels and, softened by
a temperature, the teacher's probabilities, which also say how similar the labels look in each image.
"""

import hashlib
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Self

import keras
import numpy as np

from models.arrays import Floats, softmax
from models.card import Card
from models.errors import BadParameter
from models.runtime.open import open_runtime
from models.store import store
from models.store.store import StoredModel
from training.config import TrainSettings, catseye_home
from training.console import images_bar
from training.data.dataset import Dataset, Sample
from training.evaluate.metrics import logits_of
from training.features.cache import FeatureStore
from training.features.cached_augmentation import FLIPS, Flip, flipped


@dataclass(frozen=True)
class Teaching:
    """The teacher's probabilities for the training images, and their weight in the loss."""

    probabilities: Floats
    """(training images, classes), softened."""
    temperature: float
    share: float

    @classmethod
    def of(cls, settings: TrainSettings, dataset: Dataset) -> Self:
        """Run the settings' teacher on the training images, flipped as they are in training."""
        teacher = store.get(settings.teacher or "")
        check_labels(teacher.card, dataset.labels)
        logits = teacher_logits(teacher, dataset.train, FLIPS[settings.mirror])
        soft = softmax(logits, settings.temperature).astype(np.float32)
        return cls(soft, settings.temperature, settings.teacher_share)

    def beside(self, targets: Floats) -> Floats:
        """``targets`` (images, classes) and the teacher's probabilities side by side, for ``TeacherLoss``."""
        return np.concatenate([targets, self.probabilities], axis=1)

    def loss(self, label_smoothing: float = 0.0) -> "TeacherLoss":
        """The loss for such targets."""
        classes = self.probabilities.shape[1]
        return TeacherLoss(classes, temperature=self.temperature, share=self.share, label_smoothing=label_smoothing)


def teacher_logits(teacher: StoredModel, samples: Sequence[Sample], views: Sequence[Flip] = ("plain",)) -> Floats:
    """Logits (samples, classes), averaged over ``views`` and divided by the teacher's own temperature.

    Computed once through the serving runtime in float32 and cached on disk by content. Several views are test-time
    augmentation: the average over an image's flips is more accurate than the logits of one.
    """
    root = catseye_home() / "features" / f"teacher-{_key(teacher.card)}"
    stores = {view: FeatureStore(root / view) for view in views}
    missing = {view: list({s.sha256: s for s in samples if s.sha256 not in stores[view]}.values()) for view in views}
    total = sum(len(some) for some in missing.values())
    if total:
        with (
            closing(open_runtime(teacher, precision="float32", hint="throughput")) as runtime,
            images_bar("Teacher", total) as advance,
        ):
            for view, some in missing.items():
                if some:
                    rows = logits_of(runtime, some, teacher.card, partial(flipped, flip=view), advance)
                    stores[view].add([s.sha256 for s in some], rows)
    keys = [sample.sha256 for sample in samples]
    logits: Floats = np.mean([stores[view].rows(keys).all() for view in views], axis=0)
    return logits / np.float32(teacher.card.temperature)


class TeacherLoss(keras.losses.Loss):  # type: ignore[misc]  # Keras has no types
    """``(1 - share)`` of the cross-entropy with the labels, ``share`` of T^2 KL(teacher || student), both at T.

    Targets hold the labels' probabilities and then the teacher's, (batch, 2 x classes); where the second half
    is left out, as in validation, the loss is the plain cross-entropy with the labels. T^2 keeps the size of
    the gradients the same for every temperature.
    """

    def __init__(self, classes: int, *, temperature: float, share: float, label_smoothing: float = 0.0) -> None:
        super().__init__(name="teacher_loss")
        self.classes, self.temperature, self.share = classes, temperature, share
        self.label_smoothing = label_smoothing

    def call(self, targets: keras.KerasTensor, logits: keras.KerasTensor) -> keras.KerasTensor:
        """Loss (batch,) of logits (batch, classes)."""
        labels, taught = targets[:, : self.classes], targets[:, self.classes :]
        hard = keras.losses.categorical_crossentropy(
            labels, logits, from_logits=True, label_smoothing=self.label_smoothing
        )
        if not taught.shape[-1]:
            return hard
        student = keras.ops.log_softmax(logits / self.temperature)
        teacher = keras.ops.log(keras.ops.maximum(taught, keras.config.epsilon()))
        soft = self.temperature**2 * keras.ops.sum(taught * (teacher - student), axis=-1)
        return (1 - self.share) * hard + self.share * soft


def check_labels(teacher: Card, labels: Sequence[str]) -> None:
    """BadParameter unless the teacher's labels are the data's, in the same order."""
    if teacher.labels != tuple(labels):
        raise BadParameter(
            f"The teacher {teacher.name} has the labels {', '.join(teacher.labels)}, the data {', '.join(labels)}. "
            "Give the images that the teacher was trained on."
        )


def _key(card: Card) -> str:
    """Hash of everything that the teacher's logits depend on."""
    export = next(export for export in card.exports if export.precision == "float32")
    facts = (export.sha256, card.files.get(export.file), card.input_size, card.labels)
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:32]
