import io
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from training.evaluate.calibration import reliability
from training.evaluate.metrics import ClassRow, class_table
from training.report.plots import Line, accuracy_lines, class_bars, confusion, learning_curves, reliability_diagram

HANGUL = ("고양이", "개", "새")
AWKWARD = ("$x_1$ and $", "<b>&amp;", "a label that is rather too long for any axis")


@pytest.fixture(autouse=True)
def _no_missing_glyphs():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def pixels(png):
    image = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
    assert image.std() > 5
    # Nothing is cut off: the margin is white.
    assert (image[[0, -1]] == 255).all()
    assert (image[:, [0, -1]] == 255).all()
    return image


def rows(labels):
    rng = np.random.default_rng(0)
    targets = np.arange(40) % len(labels)
    return class_table(rng.normal(0, 1, (40, len(labels))) + 2 * np.eye(len(labels))[targets], targets, labels)


def phase(name, epochs, best=0, **extra):
    history = [{"epoch": i + 1.0, "loss": 1 / (i + 1), "accuracy": 0.5, **extra} for i in range(epochs)]
    return SimpleNamespace(phase=name, history=history, best_epoch=best)


@pytest.mark.parametrize(
    "phases",
    [
        [phase("head", 5, 3, val_loss=0.5, val_accuracy=0.7), phase("top", 3, 0, val_loss=0.4, val_accuracy=0.8)],
        [phase("head", 1)],
        [phase("head", 0), phase("top", 2, 2, val_loss=float("nan"))],
        [],
    ],
)
def test_learning_curves(phases):
    pixels(learning_curves(phases))


@pytest.mark.parametrize("labels", [HANGUL, AWKWARD, [f"class {i}" for i in range(14)], [str(i) for i in range(70)]])
def test_confusion_and_classes_in_every_script_and_number(labels):
    matrix = np.random.default_rng(1).integers(0, 9, (len(labels), len(labels)))
    matrix[0] = 0
    pixels(confusion(matrix, labels))
    pixels(class_bars(rows(labels)))


def test_the_same_figures_give_the_same_bytes():
    assert confusion(np.eye(3, dtype=int), HANGUL) == confusion(np.eye(3, dtype=int), HANGUL)


def test_the_darkest_cell_is_the_fullest():
    image = pixels(confusion(np.array([[90, 10], [0, 5]]), ("a", "b")))
    blue = image[:, : image.shape[1] * 3 // 4].reshape(-1, 3)
    assert blue[blue.sum(axis=1).argmin()].sum() < 400


def test_reliability():
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(0, 3, (100, 3)), rng.integers(0, 3, 100)
    pixels(reliability_diagram(reliability(logits, targets), reliability(logits, targets, 3.0), 3.0))


def test_a_class_without_images_is_not_drawn():
    empty = ClassRow(label="x", images=0, precision=0, recall=0, recall_low=0, recall_high=1, f1=0)
    with_it, without = class_bars([*rows(("a", "b")), empty]), class_bars(rows(("a", "b")))
    assert Image.open(io.BytesIO(with_it)).size == Image.open(io.BytesIO(without)).size


def test_accuracy_lines():
    intervals = [(0.8, 0.95), (0.5, 0.7)]
    lines = [Line(name, (0.9, 0.6), intervals) for name in ("MLP", "small CNN", "three", "four", "five")]
    one, five = (pixels(accuracy_lines((0.0, 0.25), lines[:count])) for count in (1, 5))
    assert (one.shape != five.shape) or (one != five).any()
