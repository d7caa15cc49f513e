import keras
import numpy as np
import pytest

from models.card import Card, Head, WeightsProvenance
from models.errors import BadParameter
from training.fit.teacher import TeacherLoss, Teaching, check_labels


def softmax(logits):
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def by_hand(labels, taught, logits, temperature, share):
    hard = -(labels * np.log(softmax(logits))).sum(1)
    student = softmax(logits / temperature)
    soft = temperature**2 * (taught * np.log(taught / student)).sum(1)
    return ((1 - share) * hard + share * soft).mean()


def test_the_loss_is_hintons():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(6, 3)).astype(np.float32), np.eye(3, dtype=np.float32)[[0, 1, 2, 2, 1, 0]]
    taught = softmax(rng.normal(size=(6, 3))).astype(np.float32)
    loss = TeacherLoss(3, temperature=4.0, share=0.7)
    found = float(loss(np.concatenate([labels, taught], 1), logits))
    assert found == pytest.approx(by_hand(labels, taught, logits, 4.0, 0.7), rel=1e-4)
    assert float(loss(labels, logits)) == pytest.approx(-(labels * np.log(softmax(logits))).sum(1).mean(), rel=1e-5)


def test_a_student_that_answers_as_its_teacher_has_nothing_to_learn():
    logits = np.array([[2.0, -1.0], [0.5, 3.0]], np.float32)
    taught = softmax(logits / 3).astype(np.float32)
    loss = TeacherLoss(2, temperature=3.0, share=1.0)
    variable = keras.Variable(logits)
    assert float(loss(np.concatenate([np.eye(2, dtype=np.float32), taught], 1), variable)) == pytest.approx(0, abs=1e-6)


def test_targets_stand_beside_each_other():
    teaching = Teaching(np.array([[0.25, 0.75]], np.float32), 2.0, 0.5)
    assert teaching.beside(np.array([[0.0, 1.0]], np.float32)).tolist() == [[0.0, 1.0, 0.25, 0.75]]
    assert teaching.loss(0.1).label_smoothing == 0.1


def test_other_labels_are_refused():
    card = Card(
        name="teacher",
        labels=("cat", "dog"),
        backbone="cnn",
        input_size=(8, 8),
        weights=WeightsProvenance(source="none", detail=""),
        head=Head(embedding_size=1),
        parameters=1,
    )
    check_labels(card, ("cat", "dog"))
    with pytest.raises(BadParameter, match="Give the images that the teacher was trained on"):
        check_labels(card, ("dog", "cat"))
