import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, f1_score, roc_auc_score

from models.card import Card, Head, WeightsProvenance
from models.errors import BadParameter
from models.image.decode import content_hash
from tests.support.images import encode
from training.data.dataset import Sample
from training.evaluate.metrics import (
    accuracy_text,
    class_table,
    evaluate,
    logits_of,
    most_confused,
    reference,
    roc_auc,
    wilson_interval,
    worst,
)

LABELS = ("개", "고양이", "새")
TARGETS = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2])
PREDICTED = np.array([0, 0, 0, 1, 1, 1, 0, 2, 2, 1])
LOGITS = 3.0 * np.eye(3)[PREDICTED]


@pytest.mark.parametrize(
    ("successes", "total", "low", "high"),
    # Newcombe 1998, table I (method 3, the score interval), and the limits.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval_is_the_published_one(successes, total, low, high):
    assert wilson_interval(successes, total) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 10_000), st.data())
def test_the_interval_holds_the_share_and_narrows(total, data):
    successes = data.draw(st.integers(0, total))
    low, high = wilson_interval(successes, total)
    assert 0 <= low <= successes / total <= high <= 1
    wider = wilson_interval(successes, total, 0.99)
    assert wider[0] <= low
    assert high <= wider[1]


def test_no_trial_says_nothing():
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_figures_are_scikit_learns():
    metrics = evaluate(LOGITS, TARGETS, LABELS)
    assert metrics.accuracy == 0.7
    assert (metrics.accuracy_low, metrics.accuracy_high) == wilson_interval(7, 10)
    assert metrics.balanced_accuracy == pytest.approx(balanced_accuracy_score(TARGETS, PREDICTED))
    assert metrics.macro_f1 == pytest.approx(f1_score(TARGETS, PREDICTED, average="macro"))
    assert metrics.confusion == ((3, 1, 0), (1, 2, 0), (0, 1, 2))
    assert evaluate(LOGITS, TARGETS, LABELS, 2.0).log_loss != metrics.log_loss


def test_a_class_without_test_images_does_not_count():
    metrics = evaluate(LOGITS[:7], TARGETS[:7], LABELS)
    assert metrics.balanced_accuracy == pytest.approx((3 / 4 + 2 / 3) / 2)
    assert metrics.confusion[2] == (0, 0, 0)
    assert class_table(LOGITS[:7], TARGETS[:7], LABELS)[2].images == 0


def test_the_table_of_classes():
    dog = class_table(LOGITS, TARGETS, LABELS)[0]
    assert (dog.label, dog.images, dog.precision, dog.recall, dog.f1) == ("개", 4, 0.75, 0.75, 0.75)
    assert (dog.recall_low, dog.recall_high) == wilson_interval(3, 4)


def test_the_most_confused_pairs():
    pairs = most_confused(evaluate(LOGITS, TARGETS, LABELS), LABELS, most=2)
    assert [(p.true, p.predicted, p.count) for p in pairs] == [("고양이", "개", 1), ("새", "고양이", 1)]
    assert pairs[0].share == pytest.approx(1 / 3)


def test_the_worst_come_first():
    logits = np.array([[9.0, 0], [0, 1.0], [5.0, 0], [0, 2.0]])
    assert worst(logits, np.array([0, 0, 1, 1]), most=2).tolist() == [2, 1]
    assert worst(logits, np.array([[1.0, 0], [0.5, 0.5], [1, 0], [0, 1]]), most=1).tolist() == [1]


def test_area_under_the_curve_for_two_classes():
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(0, 1, (50, 2)), rng.integers(0, 2, 50)
    logits[targets == 1, 1] += 1
    assert roc_auc(logits, targets) == pytest.approx(roc_auc_score(targets, logits[:, 1] - logits[:, 0]))
    assert roc_auc(LOGITS, TARGETS) is None
    assert roc_auc(logits[targets == 1], targets[targets == 1]) is None


def test_the_reference_for_drift():
    found = reference(np.log([[0.95, 0.05], [0.55, 0.45], [0.5, 0.5], [0.0001, 0.9999]]), ("a", "b"))
    assert found.classes == {"a": 0.75, "b": 0.25}
    assert len(found.confidence_edges) == 11
    assert found.confidence == (0, 0, 0, 0, 0, 0.5, 0, 0, 0, 0.5)


def test_accuracy_is_never_told_without_its_interval():
    text = accuracy_text(evaluate(LOGITS, TARGETS, LABELS)).replace("\N{NO-BREAK SPACE}", " ")
    assert text == "accuracy 70.0 % on 10 images (95 % interval 39.7 % to 89.2 %)"


@pytest.mark.parametrize(
    ("logits", "targets", "sentence"),
    [
        (np.zeros((0, 3)), np.zeros(0, int), "no image"),
        (np.zeros((2, 2)), np.array([0, 1]), "own labels"),
        (np.full((1, 3), np.inf), np.array([0]), "finite"),
    ],
)
def test_what_cannot_be_measured(logits, targets, sentence):
    with pytest.raises(BadParameter, match=sentence):
        evaluate(logits, targets, LABELS)


class Means:
    """A runtime whose logits are the means of the channels."""

    streams = 2

    def run(self, images, outputs=("logits",)):
        return {"logits": images.mean((1, 2)).astype(np.float32)}


def test_logits_come_in_the_samples_order(tmp_path):
    card = Card(
        name="x",
        labels=("a", "b", "c"),
        backbone="cnn",
        input_size=(8, 8),
        weights=WeightsProvenance(source="none", detail=""),
        head=Head(embedding_size=1),
        parameters=1,
    )
    samples = []
    for i in range(40):
        path = tmp_path / f"{i}.png"
        data = encode(np.full((8, 8, 3), i, np.uint8), "PNG")
        path.write_bytes(data)
        samples.append(Sample(path=path, label=0, sha256=content_hash(data), split="test"))
    assert logits_of(Means(), samples, card)[:, 0].tolist() == list(range(40))
    assert logits_of(Means(), [], card).shape == (0, 3)
