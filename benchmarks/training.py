"""catseye's two phases beside plain ``model.fit`` on a frozen base: seconds for ten epochs, and accuracy.

    python -m benchmarks.training [--images 400] [--epochs 10] [--size 224] [--phases head most] [--fit-onednn]

The same MobileNetV2 with the same weights (the dog weights), the same ELPV cells with the same split, the same
head, rate and batch size. ``model.fit`` decodes once and runs the whole network at every step, its base frozen;
catseye computes the frozen part once, through OpenVINO, and trains what is left on it. Its time counts that
computing (the cache is empty at the start), the network's compilation and all epochs; the decoding of
``model.fit`` counts too. Both sides are timed in one run, one after the other, since machines are noisy, each in
a process of its own: ``model.fit`` with TensorFlow as it comes (or with oneDNN, as this project sets it, by
``--fit-onednn``), catseye as it trains.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import keras
import numpy as np

from models.environment import before_tensorflow
from models.network.classifier import Classifier, HeadSpec, build_classifier
from models.network.freezing import Freeze, apply_freeze
from models.network.pretrained import load_weights
from training.data.dataset import Dataset, labels_of, load_batch, targets_of
from training.examples.solar_cells import fetch_cells
from training.features.cache import cached_rows
from training.features.frozen_trunk import base_trunk, frozen_trunk
from training.features.keras_dataset import Batches, FeatureSource
from training.fit.checkpoint import Checkpoint
from training.fit.trainer import Schedule, StandardHead, fit

BATCH = 32
PHASES: dict[Freeze, tuple[str, float]] = {
    "head": ("phase 1, new head", 1e-3),
    "most": ("phase 2, top of the base", 2e-5),
}
"""By how much is frozen: title and learning rate."""


@dataclass(frozen=True)
class Result:
    """Seconds of one way to train, and the accuracy on held-out images afterwards."""

    seconds: float
    accuracy: float


def cells(count: int) -> Dataset:
    """So many cells, half of them surely defective, split by seed 0."""
    from training.data.dataset import read_dataset
    from training.examples.solar_cells import write_table

    sure = [cell for cell in fetch_cells() if cell.probability in (0.0, 1.0)]
    chosen = [cell for wanted in (0.0, 1.0) for cell in [c for c in sure if c.probability == wanted][: count // 2]]
    rows: list[dict[str, object]] = [
        {"path": cell.path, "label": "defective" if cell.probability else "functional"} for cell in chosen
    ]
    table = write_table(Path(tempfile.mkdtemp(prefix="catseye-bench-")) / "cells.csv", rows)
    return read_dataset(table, quiet=True)


def network(size: int) -> Classifier:
    """MobileNetV2 with the dog weights; the same head for both ways."""
    classifier = build_classifier("mobilenet_v2", 2, input_size=size, head=HeadSpec(dropout=0.0), seed=0)
    load_weights(classifier, "dogs")
    return classifier


def head_over(classifier: Classifier, mean: np.ndarray, deviation: np.ndarray) -> StandardHead:
    """The standardising head that catseye trains, used by both ways."""
    keras.utils.set_random_seed(0)
    return StandardHead(classifier, mean, deviation, l2=1e-4, dropout=0.0)


def plain(data: Dataset, size: int, epochs: int, freeze: Freeze, rate: float, scale: tuple[np.ndarray, ...]) -> Result:
    """``model.fit`` over the whole network, frozen as asked, images in memory."""
    classifier = network(size)
    began = time.perf_counter()
    images = load_batch(data.train, (size, size))
    apply_freeze(classifier, freeze)
    model = keras.Model(
        classifier.model.input, head_over(classifier, *scale)(classifier.model.get_layer("embedding").output)
    )
    model.compile(
        keras.optimizers.Adam(rate), keras.losses.CategoricalCrossentropy(from_logits=True), jit_compile=False
    )
    model.fit(images, targets_of(data.train, 2), batch_size=BATCH, epochs=epochs, verbose=0)
    seconds = time.perf_counter() - began
    held = load_batch(data.test, (size, size))
    return Result(seconds, _right(model.predict(held, verbose=0), data))


def cached(data: Dataset, size: int, epochs: int, freeze: Freeze, rate: float, scale: tuple[np.ndarray, ...]) -> Result:
    """catseye's way: activations at the freeze point once, then the rest on them."""
    classifier = network(size)
    began = time.perf_counter()
    apply_freeze(classifier, freeze)
    trunk = base_trunk(classifier) if freeze == "head" else frozen_trunk(classifier)
    rows = cached_rows(trunk, data.train, ("plain",), title=f"activations ({freeze})")
    ones = np.ones(len(data.train), np.float32)
    train = Batches(FeatureSource(trunk, rows), targets_of(data.train, 2), ones, batch_size=BATCH, seed=0)
    model = head_over(classifier, *scale).model(None if freeze == "head" else trunk)
    schedule = Schedule(phase=freeze, title="t", epochs=epochs, patience=epochs, learning_rate=rate)
    fit(model, train, None, schedule, Checkpoint(Path(tempfile.mkdtemp(prefix="catseye-bench-"))))
    seconds = time.perf_counter() - began
    held = FeatureSource(trunk, cached_rows(trunk, data.test, ("plain",), title="held out"))
    places = np.arange(len(data.test))
    inputs = held.take(places, np.zeros_like(places), np.random.default_rng(0))
    return Result(seconds, _right(model.predict(list(inputs) if len(inputs) > 1 else inputs[0], verbose=0), data))


def _right(logits: np.ndarray, data: Dataset) -> float:
    return float(np.mean(logits.argmax(1) == labels_of(data.test)))


def main() -> None:
    """Time both ways for both phases; the cache is in a folder of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--phases", nargs="+", choices=list(PHASES), default=list(PHASES))
    parser.add_argument("--fit-onednn", action="store_true", help="let model.fit compute with oneDNN too")
    options = parser.parse_args()
    data = cells(options.images)
    classifier = network(options.size)
    features = classifier.output_model().predict(load_batch(data.train, (options.size,) * 2), verbose=0)["embedding"]
    scale = features.mean(0), features.std(0)
    print(f"{len(data.train)} training and {len(data.test)} test cells, {options.epochs} epochs, {options.size} px")
    print(f"{'':24}{'model.fit':>12}{'catseye':>10}{'ratio':>8}   accuracy (fit, catseye)")
    for freeze in options.phases:
        title, rate = PHASES[freeze]
        slow, fast = (
            _alone(way, onednn, data, options.size, options.epochs, freeze, rate, scale)
            for way, onednn in ((plain, options.fit_onednn), (cached, True))
        )
        print(
            f"{title:24}{slow.seconds:10.1f} s{fast.seconds:8.1f} s{slow.seconds / fast.seconds:7.1f}x"
            f"   {slow.accuracy:.1%}, {fast.accuracy:.1%}",
            flush=True,
        )


def _alone(way: Callable[..., Result], onednn: bool, *arguments: object) -> Result:
    """Run one way over an empty cache, in a process that starts TensorFlow anew."""
    home = os.environ.get("CATSEYE_HOME", ".catseye")
    with tempfile.TemporaryDirectory(prefix="catseye-bench-") as folder:
        # Weights that were fetched already are used again; features are not.
        (Path(folder) / "weights").symlink_to(Path(home).absolute() / "weights")
        os.environ["CATSEYE_HOME"] = folder
        os.environ.pop("TF_ENABLE_ONEDNN_OPTS", None)
        if onednn:
            before_tensorflow()
        try:
            with ProcessPoolExecutor(1, get_context("spawn")) as process:
                return process.submit(way, *arguments).result()
        finally:
            os.environ["CATSEYE_HOME"] = home


if __name__ == "__main__":
    main()
