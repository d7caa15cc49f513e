"""One whole run: from labelled images to a stored classifier, the lecture's five steps of fine-tuning in order."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

import keras
import numpy as np

from models.card import WeightsProvenance
from models.errors import BadParameter
from models.network.classifier import Classifier, HeadSpec, build_classifier
from models.network.freezing import Freeze, apply_freeze
from models.network.pretrained import load_weights
from models.store.store import StoredModel, check_name
from training.config import TrainSettings
from training.console import console
from training.data.augmentation import Augmentation
from training.data.dataset import Dataset, labels_of, load_batch, read_dataset, targets_of
from training.features.cache import Features, compute_features, fits_on_disk, mean_and_deviation
from training.features.cached_augmentation import Flip, View, augmented_copies, describe_augmentation, flips_of, preview
from training.features.frozen_trunk import FrozenTrunk, base_trunk, empty_trunk, frozen_trunk
from training.features.keras_dataset import Batches, FeatureSource, PixelSource, Source, sample_weights
from training.fit.checkpoint import Checkpoint, Progress
from training.fit.distributed import Workers
from training.fit.freeze_policy import choose, kappa
from training.fit.optimizer import LayerRates, measure_layer_rates, rates_by_depth
from training.fit.teacher import Teaching
from training.fit.trainer import Schedule, StandardHead, fit
from training.publish.publish import Outcome, check_variant, publish
from training.runs import held, new_run, pin_data, read_settings, unfinished_run

_HEAD_BATCH = 128
"""The head alone is so small that larger batches only save overhead."""
_MEASURED_IMAGES = 48
"""Maximum number of training images on which per-layer learning rates are measured."""


@dataclass
class Run:
    """What one run works on."""

    settings: TrainSettings
    dataset: Dataset
    folder: Path
    classifier: Classifier
    provenance: WeightsProvenance
    workers: Workers
    teaching: Teaching | None = None
    phases: list[Progress] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def pretrained(self) -> bool:
        """Whether the base has weights that are worth keeping."""
        return self.provenance.source != "none"

    @property
    def augmentation(self) -> Augmentation:
        """How training images are augmented."""
        return Augmentation.from_text(self.settings.augment)

    @property
    def flips(self) -> tuple[Flip, ...]:
        """The flips of the training images."""
        return flips_of(self.settings.mirror, self.augmentation)

    @property
    def views(self) -> tuple[View, ...]:
        """All views of a training image whose features are cached, the flips first."""
        return (*self.flips, *augmented_copies(self.augmentation, self.settings.seed))

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
    """Train as the settings say and store the model; ``resume`` continues the newest unfinished run of that name.

    A resumed run keeps its settings and data. ``reading`` are more arguments of ``read_dataset``. Of several
    ``workers`` the chief calls this and the others ``assist``. Raises CatseyeError for anything that the user can
    put right.
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
    workers = workers or Workers()
    _agree(workers, settings, dataset)
    if settings.variant_of is not None:
        check_variant(settings.variant_of, dataset.labels)
    pin_data(folder, dataset.fingerprint.sha256)
    # 1. Put a new classifier on top of the pretrained base.
    run = _start(settings, dataset, folder, workers)
    # 2. Freeze the base: its features are computed once.
    features = _base_features(run)
    head = StandardHead(
        run.classifier,
        *mean_and_deviation(features.train[: len(run.flips)]),
        l2=settings.l2,
        dropout=settings.dropout,
    )
    # 3. Train the classifier.
    if run.pretrained:
        _train_head(run, head, features)
    # 4. Unfreeze the top part of the base, or as much as suits the data.
    freeze = _freeze(run, head, features)
    # 5. Train the unfrozen layers and the classifier together, at a small learning rate.
    if freeze != "head" and settings.epochs:
        _fine_tune(run, head, freeze)
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
    if workers.replicas > 1 and settings.batch_norm:
        raise BadParameter(
            "--batch-norm needs the statistics of a whole batch, and each device sees only a part of it. "
            "Leave it out, or train on one device."
        )
    facts = json.dumps([settings.as_dict(), dataset.fingerprint.sha256], sort_keys=True)
    number = int.from_bytes(sha256(facts.encode()).digest()[:6], "big")
    if not workers.everywhere(number == int(workers.chiefs(np.array(number)))):
        raise BadParameter(
            "The workers have different settings or images. Start each with the same command on the same images."
        )


def _start(settings: TrainSettings, dataset: Dataset, folder: Path, workers: Workers) -> Run:
    spec = HeadSpec(depths=settings.depths, dropout=settings.dropout, batch_norm=settings.batch_norm)
    classifier = build_classifier(
        settings.backbone, len(dataset.labels), input_size=settings.size, head=spec, seed=settings.seed
    )
    run = Run(settings, dataset, folder, classifier, load_weights(classifier, settings.weights), workers)
    if settings.teacher is not None:
        run.teaching = Teaching.of(settings, dataset)
    run.say(
        f"{dataset.fingerprint.images} images of {len(dataset.labels)} classes: {len(dataset.train)} for training, "
        f"{len(dataset.validation)} for validation, {len(dataset.test)} for testing ({dataset.split.method})."
    )
    for skipped in dataset.skipped:
        run.say(f"Skipped {skipped.path}: {skipped.reason}.")
    for warning in dataset.warnings:
        run.say(f"Note: {warning}")
    run.say(f"{classifier.backbone.title} at {classifier.input_size[0]} pixels, weights: {run.provenance.detail}.")
    run.say(f"Run folder: {folder}")
    return run


def _base_features(run: Run) -> Features:
    """Features of the whole base; without pretrained weights only what standardises the head's input."""
    trunk, dataset = base_trunk(run.classifier), run.dataset
    if run.pretrained:
        return compute_features(trunk, dataset.train, dataset.validation, run.views, title="Features")
    return compute_features(trunk, dataset.train, (), ("plain",), title="Features")


def _train_head(run: Run, head: StandardHead, features: Features) -> None:
    """Phase 1: the new classifier alone, on cached features."""
    settings = run.settings
    schedule = Schedule(
        phase="head",
        title="Phase 1: the new head",
        epochs=settings.head_epochs,
        patience=settings.patience,
        learning_rate=settings.learning_rate,
        label_smoothing=settings.label_smoothing,
    )
    _fit(run, head.model(), _feature_sources(features), schedule, batch_size=_HEAD_BATCH, every_view=True)


def _freeze(run: Run, head: StandardHead, features: Features) -> Freeze:
    """How much to freeze: as the settings say, or as suits the data."""
    asked = run.settings.freeze
    if not run.pretrained:
        if asked not in ("auto", "none"):
            raise BadParameter(f"--freeze {asked} needs pretrained weights. Use --freeze none, or --weights.")
        if not run.settings.epochs:
            raise BadParameter("--epochs 0 trains nothing without pretrained weights. Use 1 or more, or --weights.")
        run.say("Freeze none: there are no pretrained weights, so all layers are trained from the start.")
        return "none"
    if asked != "auto":
        return asked
    dataset = run.dataset
    counts = np.bincount(labels_of(dataset.train), minlength=len(dataset.labels))
    agreement = None
    if features.validation is not None:
        predicted = np.asarray(head.model().predict(features.validation.all(), verbose=0)).argmax(1)
        agreement = float(run.workers.chiefs(np.array(kappa(labels_of(dataset.validation), predicted))))
    choice = choose(int(counts.min()), agreement)
    run.say(f"Freeze {choice.freeze}: {choice.reason}.")
    return choice.freeze


def _fine_tune(run: Run, head: StandardHead, freeze: Freeze) -> None:
    """Phase 2: the unfrozen layers and the classifier together; everything, where nothing is pretrained."""
    settings, pretrained = run.settings, run.pretrained
    plan = apply_freeze(run.classifier, freeze)
    trunk = _phase_two_trunk(run)
    if trunk.is_empty:
        sources = _pixel_sources(run)
    else:
        samples = run.dataset.train, run.dataset.validation
        sources = _feature_sources(compute_features(trunk, *samples, run.views, title="Activations"))
    if run.augmentation.active:
        how = describe_augmentation(run.flips, run.views, from_pixels=trunk.is_empty)
        run.say(f"Augmentation {run.augmentation}: {how}.")
    rate = settings.learning_rate / (settings.slower if pretrained else 1)
    smaller = f", {settings.slower:g} times smaller than the head's" if pretrained else ""
    run.say(
        f"Phase 2 trains {plan.trainable_parameters:,} parameters, from {plan.first_trained_layer or 'the input'} on, "
        f"at a learning rate of {rate:g}{smaller}, on {'images' if trunk.is_empty else 'cached features'}."
    )
    schedule = Schedule(
        phase="top",
        title="Phase 2: fine-tuning" if pretrained else "Training",
        epochs=settings.epochs if pretrained else max(settings.epochs, settings.head_epochs),
        patience=settings.patience,
        learning_rate=rate,
        label_smoothing=settings.label_smoothing,
        layer_rates=_layer_rates(run) if pretrained else {},
        clip_norm=settings.clip_norm if pretrained else 0.0,
    )
    _fit(run, head.model(trunk), sources, schedule, batch_size=settings.batch_size)


def _fit(
    run: Run,
    model: keras.Model,
    sources: tuple[Source, Source | None],
    schedule: Schedule,
    *,
    batch_size: int,
    every_view: bool = False,
) -> None:
    """Train one phase, and report how it ended."""
    settings, dataset, classes = run.settings, run.dataset, len(run.dataset.labels)
    weights = sample_weights(dataset.train, classes, balanced=settings.class_weights)
    targets = targets_of(dataset.train, classes)
    if run.teaching is not None:
        targets = run.teaching.beside(targets)
        schedule = replace(schedule, loss=run.teaching.loss(settings.label_smoothing))
    train = Batches(sources[0], targets, weights, batch_size=batch_size, seed=settings.seed, every_view=every_view)
    validation = None
    if sources[1] is not None:
        weights = sample_weights(dataset.validation, classes, balanced=False)
        validation = Batches(sources[1], targets_of(dataset.validation, classes), weights, batch_size=batch_size)
    checkpoint = Checkpoint(run.folder, kept=run.workers.chief)
    progress = fit(model, train, validation, schedule, checkpoint, run.workers)
    run.phases.append(progress)
    ended = f"{schedule.title} ended after {progress.epoch} of at most {schedule.epochs} epochs"
    if validation is None:
        run.say(f"{ended}. Without validation images the last epoch is kept.")
    else:
        kept = f"epoch {progress.best_epoch}" if progress.best_epoch else "the initial weights"
        run.say(f"{ended} and kept {kept}, which had the lowest validation loss ({progress.best:.3f}).")


def _layer_rates(run: Run) -> LayerRates:
    """Factors of the learning rate for every trained layer of the base: measured, and times the layer decay."""
    classifier, decay, samples = run.classifier, run.settings.layer_decay, run.dataset.train
    # Every so many, since data sets are often sorted by class.
    chosen = samples[:: -(-len(samples) // _MEASURED_IMAGES)]
    rates = measure_layer_rates(classifier, load_batch(chosen, classifier.input_size))
    if run.workers.count > 1:
        # Rounding differs between processors, and with different rates the workers' weights would diverge.
        chiefs = run.workers.chiefs
        rates = {name: tuple(chiefs(rate).astype(np.float32) for rate in each) for name, each in rates.items()}
    if decay == 1:
        return rates
    factors = rates_by_depth(classifier, decay)
    smallest = min(factors[name] for name in rates)
    run.say(f"Learning rates are multiplied by {decay:g} for each stage below the classifier, down to {smallest:.2g}.")
    return {name: tuple(factors[name] * rate for rate in each) for name, each in rates.items()}


def _phase_two_trunk(run: Run) -> FrozenTrunk:
    """The frozen layers, or none where their features need too much disk."""
    trunk = frozen_trunk(run.classifier)
    images = len(run.dataset.train) * len(run.views) + len(run.dataset.validation)
    if run.workers.everywhere(trunk.is_empty or fits_on_disk(trunk, images)):
        return trunk
    run.say("The disk is too small to cache features of the frozen layers, so every step computes them.")
    return empty_trunk(run.classifier)


def _pixel_sources(run: Run) -> tuple[Source, Source | None]:
    size, validation = run.classifier.input_size, run.dataset.validation
    train = PixelSource(run.dataset.train, size, run.flips, run.augmentation if run.augmentation.active else None)
    return train, PixelSource(validation, size) if validation else None


def _feature_sources(features: Features) -> tuple[Source, Source | None]:
    validation = FeatureSource(features.trunk, [features.validation]) if features.validation is not None else None
    return FeatureSource(features.trunk, features.train), validation
