"""One whole run: from labelled images to a stored classifier, the lecture's five steps in order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from models.card import WeightsProvenance
from models.errors import BadParameter
from models.network.classifier import Classifier, HeadSpec, build_classifier
from models.network.freezing import Freeze, apply_freeze
from models.network.pretrained import load_weights
from models.store.store import StoredModel, check_name
from training.config import TrainSettings
from training.data.augmentation import Augmentation
from training.data.dataset import Dataset, Sample, labels_of, load_batch, read_dataset, targets_of, weights_of
from training.distill.teacher import Teaching
from training.features.cache import cached_rows, room_for
from training.features.cached_augmentation import AnyView, View, exact_views, how_varied, preview, varied_copies
from training.features.frozen_trunk import Cut, cut_at_embedding, cut_at_pixels, cut_where_training_begins
from training.features.keras_dataset import ActivationSource, Batches, PixelSource, Source
from training.fit.checkpoint import Checkpoint, Progress
from training.fit.distributed import Workers
from training.fit.freeze_policy import choose, kappa
from training.fit.layer_rates import Shares, even_steps
from training.fit.optimizer import rates_by_depth
from training.fit.trainer import Schedule, StandardHead, fit
from training.publish.publish import Outcome, check_variant, publish
from training.report.console import console
from training.runs import held, new_run, pin_data, read_settings, unfinished_run

Floats = NDArray[np.float32]
_HEAD_BATCH = 128
"""The head alone is so small that larger batches only save overhead."""
_MEASURED = 48
"""Training images, at most, on which it is measured how far a step moves each layer."""


@dataclass
class Run:
    """What one run works on."""

    settings: TrainSettings
    dataset: Dataset
    folder: Path
    classifier: Classifier
    provenance: WeightsProvenance
    phases: list[Progress] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    teaching: Teaching | None = None
    workers: Workers | None = None
    """All that train this network together, where it is not one process on one device."""

    @property
    def augmentation(self) -> Augmentation:
        """How training images are varied."""
        return Augmentation.from_text(self.settings.augment)

    @property
    def exact(self) -> tuple[View, ...]:
        """The mirror images that are trained on."""
        return exact_views(self.settings.mirror, self.augmentation)

    @property
    def views(self) -> tuple[AnyView, ...]:
        """All views of a training image whose activations can be kept."""
        return (*self.exact, *varied_copies(self.augmentation, self.settings.seed))

    def say(self, words: str) -> None:
        """Print one fact, and keep it for the report."""
        self.notes.append(words)
        console.print(words, highlight=False, markup=False)


def train(
    data: Path,
    settings: TrainSettings,
    *,
    resume: bool = False,
    reading: Mapping[str, Any] = MappingProxyType({}),
    workers: Workers | None = None,
) -> StoredModel:
    """Train as the settings say and store the model; ``resume`` goes on with the newest unfinished run.

    A resumed run keeps the settings and the data it began with. Of several ``workers`` the chief calls this and
    the others ``assist``. Raises CatseyeError for anything that the user can put right.
    """
    check_name(settings.name)
    folder = unfinished_run(settings.name) if resume else None
    if folder is not None:
        settings, data = read_settings(folder)
    dataset = read_dataset(data, seed=settings.seed, allow_unreadable=settings.allow_unreadable, **reading)
    folder = folder or new_run(settings, data)
    with held(folder):
        return publish(learn(dataset, settings, folder, workers))


def assist(data: Path, settings: TrainSettings, workers: Workers) -> None:
    """Train with the chief, and keep nothing: checkpoints, report and model are the chief's."""
    dataset = read_dataset(data, seed=settings.seed, allow_unreadable=settings.allow_unreadable)
    with TemporaryDirectory(prefix="catseye-worker-") as folder:
        learn(dataset, settings, Path(folder), workers)


def learn(dataset: Dataset, settings: TrainSettings, folder: Path, workers: Workers | None = None) -> Outcome:
    """Train as the settings say, keeping the state in the run's ``folder``; nothing is stored yet."""
    if workers is not None:
        _agree(workers, settings, dataset)
    if settings.variant_of is not None:
        check_variant(settings.variant_of, dataset.labels)
    pin_data(folder, dataset.fingerprint.sha256)
    run = _prepare(settings, dataset, folder)
    run.workers = workers
    _describe(run)
    pretrained = run.provenance.source != "none"
    head = _standard_head(run)
    if pretrained:
        _train_head(run, head)
    freeze = _freeze(run, head, pretrained)
    if freeze != "head" and settings.epochs:
        _fine_tune(run, head, freeze, pretrained)
    head.fold()
    return Outcome(
        classifier=run.classifier,
        provenance=run.provenance,
        settings=settings.as_dict(),
        name=settings.name,
        variant_of=settings.variant_of,
        dataset=dataset,
        folder=folder,
        phases=run.phases,
        notes=run.notes,
        preview=preview(dataset.train, run.classifier.input_size, run.augmentation, settings.seed),
        int8=settings.int8,
        int8_drop=settings.int8_drop,
    )


def _agree(workers: Workers, settings: TrainSettings, dataset: Dataset) -> None:
    """BadParameter unless all workers do the same with the same images."""
    if settings.batch_norm:
        raise BadParameter(
            "--batch-norm normalises by what a whole batch holds, of which each device sees a share. "
            "Leave it out, or train on one device."
        )
    workers.agree_on([settings.as_dict(), dataset.fingerprint.sha256])


def _prepare(settings: TrainSettings, dataset: Dataset, folder: Path) -> Run:
    spec = HeadSpec(depths=settings.depths, dropout=settings.dropout, batch_norm=settings.batch_norm)
    classifier = build_classifier(
        settings.backbone, len(dataset.labels), input_size=settings.size, head=spec, seed=settings.seed
    )
    run = Run(settings, dataset, folder, classifier, load_weights(classifier, settings.weights))
    if settings.teacher is not None:
        run.teaching = Teaching.of(settings, dataset)
    return run


def _describe(run: Run) -> None:
    data, height = run.dataset, run.classifier.input_size[0]
    run.say(
        f"{data.fingerprint.images} images of {len(data.labels)} classes: {len(data.train)} to train, "
        f"{len(data.validation)} to validate, {len(data.test)} to test ({data.split.method})."
    )
    for skipped in data.skipped:
        run.say(f"Skipped {skipped.path}: {skipped.reason}.")
    for warning in data.warnings:
        run.say(f"Note: {warning}")
    run.say(f"{run.classifier.backbone.title} at {height} pixels, weights: {run.provenance.detail}.")
    run.say(f"Run folder: {run.folder}")


def _standard_head(run: Run) -> StandardHead:
    """The head over the frozen base's features, standardised by the training images."""
    settings, views = run.settings, run.exact
    if run.provenance.source == "none":
        views = ("plain",)
    rows = cached_rows(cut_at_embedding(run.classifier), run.dataset.train, views, title="Features")
    total = np.zeros(run.classifier.head.embedding_size)
    square = np.zeros_like(total)
    for some in rows:
        for start in range(0, len(some), 1024):
            part = some.take(np.arange(start, min(start + 1024, len(some)))).astype(np.float64)
            total += part.sum(0)
            square += np.square(part).sum(0)
    count = sum(len(some) for some in rows)
    mean = total / count
    deviation = np.sqrt(np.maximum(square / count - np.square(mean), 0))
    return StandardHead(
        run.classifier,
        mean.astype(np.float32),
        deviation.astype(np.float32),
        l2=settings.l2,
        dropout=settings.dropout,
    )


def _train_head(run: Run, head: StandardHead) -> None:
    """Phase 1: the new layers alone, on features that are computed once."""
    settings = run.settings
    cut = cut_at_embedding(run.classifier)
    source, validation = _activations(cut, run, "Features")
    schedule = Schedule(
        phase="head",
        title="Phase 1: the new head",
        epochs=settings.head_epochs,
        patience=max(settings.patience, 10),
        learning_rate=settings.learning_rate,
        label_smoothing=settings.label_smoothing,
        loss=_loss(run),
    )
    model = head.model()
    train = _batches(run, source, batch_size=_HEAD_BATCH, every_view=True)
    _fit(run, model, train, _validation(run, validation, _HEAD_BATCH), schedule)


def _freeze(run: Run, head: StandardHead, pretrained: bool) -> Freeze:
    """The way to freeze that was asked for, or the one that suits the data."""
    asked = run.settings.freeze
    if not pretrained:
        if asked not in ("auto", "none"):
            raise BadParameter(f"--freeze {asked} needs pretrained weights to keep. Use --freeze none, or --weights.")
        run.say("Freeze none: there are no pretrained weights to keep, so everything is trained from the start.")
        return "none"
    if asked != "auto":
        return asked
    counts = np.bincount(labels_of(run.dataset.train), minlength=len(run.dataset.labels))
    agreement = None
    if run.dataset.validation:
        rows = cached_rows(cut_at_embedding(run.classifier), run.dataset.validation, ("plain",), title="Features")
        predicted = np.asarray(head.model().predict(rows[0].all(), verbose=0)).argmax(1)
        agreement = kappa(labels_of(run.dataset.validation), predicted)
    if run.workers is not None and agreement is not None:
        agreement = float(run.workers.chiefs(np.array(agreement)))
    choice = choose(int(counts.min()), agreement)
    run.say(f"Freeze {choice.freeze}: {choice.reason}.")
    return choice.freeze


def _fine_tune(run: Run, head: StandardHead, freeze: Freeze, pretrained: bool) -> None:
    """Phase 2: the unfrozen top and the head together, 10 to 100 times slower."""
    settings = run.settings
    plan = apply_freeze(run.classifier, freeze)
    cut = _phase_two_cut(run)
    source, validation = _pixels(run) if cut.at_pixels else _activations(cut, run, "Activations")
    rate = settings.learning_rate / (settings.slower if pretrained else 1)
    if run.augmentation.active:
        how = how_varied(run.exact, run.views, at_pixels=cut.at_pixels)
        run.say(f"Augmentation {run.augmentation}: {how}.")
    run.say(
        f"Phase 2 trains {plan.trainable_parameters:,} parameters from {plan.first_trained_layer or 'the pixels'} "
        f"on, at a learning rate of {rate:g}, from {'decoded images' if cut.at_pixels else 'kept activations'}."
    )
    schedule = Schedule(
        phase="top",
        title="Phase 2: fine-tuning" if pretrained else "Training",
        epochs=settings.epochs if pretrained else max(settings.epochs, settings.head_epochs),
        patience=settings.patience if pretrained else max(settings.patience, 10),
        learning_rate=rate,
        label_smoothing=settings.label_smoothing,
        loss=_loss(run),
        shares=_shares(run) if pretrained else {},
        clip_norm=settings.clip_norm if pretrained else 0.0,
    )
    train = _batches(run, source, batch_size=settings.batch_size)
    model = head.model(cut)
    _fit(run, model, train, _validation(run, validation, settings.batch_size), schedule)


def _fit(run: Run, model: keras.Model, train: Batches, validation: Batches | None, schedule: Schedule) -> None:
    """One phase, and how it ended: early stopping is something to be told of."""
    checkpoint = Checkpoint(run.folder, kept=run.workers is None or run.workers.chief)
    progress = fit(model, train, validation, schedule, checkpoint, run.workers)
    run.phases.append(progress)
    ended = f"{schedule.title} ended after {progress.epoch} of at most {schedule.epochs} epochs"
    if validation is None:
        run.say(f"{ended}; without validation images the last one is kept.")
    else:
        kept = f"epoch {progress.best_epoch}" if progress.best_epoch else "what it began with"
        run.say(f"{ended} and kept {kept}, where the validation loss was lowest ({progress.best:.3f}).")


def _shares(run: Run) -> Shares:
    """Of the learning rate, for every layer of the base that learns: all move alike, deeper ones less if asked."""
    classifier, decay, train = run.classifier, run.settings.layer_decay, run.dataset.train
    # From all over, for data often lie there class by class.
    chosen = train[:: -(-len(train) // _MEASURED)]
    shares = even_steps(classifier, load_batch(chosen, classifier.input_size))
    if run.workers is not None:
        # Another processor rounds otherwise, and with other rates the copies of the network would drift apart.
        chiefs = run.workers.chiefs
        shares = {name: tuple(chiefs(share).astype(np.float32) for share in each) for name, each in shares.items()}
    if decay == 1:
        return shares
    rates = rates_by_depth(classifier, decay)
    least = min(rates[name] for name in shares)
    run.say(f"Learning rates fall by {decay:g} a stage below the head, down to {least:.2g} of what they would be.")
    return {name: tuple(rates[name] * share for share in each) for name, each in shares.items()}


def _phase_two_cut(run: Run) -> Cut:
    """Where the frozen layers end; at the pixels if nothing stands still, or its activations need too much disk."""
    cut = cut_where_training_begins(run.classifier)
    images = len(run.dataset.train) * len(run.views) + len(run.dataset.validation)
    room = cut.at_pixels or room_for(cut, images)
    if run.workers is not None:
        room = run.workers.everywhere(room)
    if room:
        return cut
    run.say("The disk is too small for the activations at the freeze point, so images go through the whole network.")
    return cut_at_pixels(run.classifier)


def _pixels(run: Run) -> tuple[PixelSource, PixelSource | None]:
    size, validation = run.classifier.input_size, run.dataset.validation
    train = PixelSource(run.dataset.train, size, run.exact, run.augmentation if run.augmentation.active else None)
    return train, PixelSource(validation, size) if validation else None


def _activations(cut: Cut, run: Run, title: str) -> tuple[ActivationSource, ActivationSource | None]:
    rows = cached_rows(cut, run.dataset.train, run.views, title=f"{title}, training")
    if not run.dataset.validation:
        return ActivationSource(cut, rows), None
    held = cached_rows(cut, run.dataset.validation, ("plain",), title=f"{title}, validation")
    return ActivationSource(cut, rows), ActivationSource(cut, held)


def _batches(run: Run, source: Source, *, batch_size: int, every_view: bool = False) -> Batches:
    samples, classes = run.dataset.train, len(run.dataset.labels)
    weights = sample_weights(samples, classes, balanced=run.settings.class_weights)
    targets = targets_of(samples, classes)
    if run.teaching is not None:
        targets = run.teaching.beside(targets)
    return Batches(source, targets, weights, batch_size=batch_size, seed=run.settings.seed, every_view=every_view)


def _loss(run: Run) -> keras.losses.Loss | None:
    return run.teaching.loss(run.settings.label_smoothing) if run.teaching is not None else None


def _validation(run: Run, source: Source | None, batch_size: int) -> Batches | None:
    if source is None:
        return None
    samples = run.dataset.validation
    targets = targets_of(samples, len(run.dataset.labels))
    return Batches(source, targets, sample_weights(samples, 0, balanced=False), batch_size=batch_size)


def sample_weights(samples: Sequence[Sample], classes: int, *, balanced: bool) -> Floats:
    """(samples,): each sample's own weight, with mean 1; ``balanced`` gives every class the same sum."""
    weights = weights_of(samples).astype(np.float64)
    if balanced:
        labels = labels_of(samples)
        sums = np.bincount(labels, weights=weights, minlength=classes)
        weights = weights / np.maximum(sums, 1e-12)[labels]
    even: Floats = (weights / weights.mean()).astype(np.float32)
    return even
