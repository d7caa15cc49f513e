import keras
import numpy as np
import pytest

from models.network.classifier import HeadSpec, build_classifier, head_arrays
from tests.support.fitting import Held, head, schedule
from training.features.keras_dataset import Batches
from training.fit.checkpoint import Checkpoint
from training.fit.trainer import StandardHead, fit


def problem(count=60, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    rows = rng.normal(size=(count, 256)).astype(np.float32)
    rows[:, 0] += 3 * labels
    return Held(rows), np.eye(2, dtype=np.float32)[labels]


def feeds():
    (rows, targets), (held, truth) = problem(), problem(30, 1)
    ones = np.ones
    train = Batches(rows, targets, ones(60, np.float32), batch_size=16, seed=0)
    return train, Batches(held, truth, ones(30, np.float32), batch_size=16)


def test_the_best_epoch_is_kept(tmp_path):
    _, top = head()
    model, (train, validation) = top.model(), feeds()
    progress = fit(model, train, validation, schedule(), Checkpoint(tmp_path))
    losses = [epoch["val_loss"] for epoch in progress.history]
    assert progress.best == pytest.approx(min(losses))
    assert model.evaluate(validation, verbose=0, return_dict=True)["loss"] == pytest.approx(min(losses), rel=1e-4)


def test_a_resumed_run_ends_where_an_unbroken_one_does(tmp_path, monkeypatch):
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    _, top = head()
    whole = top.model()
    fit(whole, *feeds(), schedule(), Checkpoint(tmp_path / "whole"))

    class Killed(BaseException):
        pass

    def save_then_die(self, progress):
        original(self, progress)
        if progress.epoch == 3:
            raise Killed

    original = Checkpoint.save
    monkeypatch.setattr(Checkpoint, "save", save_then_die)
    _, top = head()
    with pytest.raises(Killed):
        fit(top.model(), *feeds(), schedule(), Checkpoint(tmp_path / "killed"))
    monkeypatch.undo()
    _, top = head()
    resumed = top.model()
    progress = fit(resumed, *feeds(), schedule(), Checkpoint(tmp_path / "killed"))
    assert [epoch["epoch"] for epoch in progress.history] == [1, 2, 3, 4, 5, 6]
    for one, other in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_a_finished_phase_is_not_trained_again(tmp_path):
    _, top = head()
    first = fit(top.model(), *feeds(), schedule(2), Checkpoint(tmp_path))
    _, top = head()
    again = fit(top.model(), *feeds(), schedule(2), Checkpoint(tmp_path))
    assert again.history == first.history


def test_patience_ends_training(tmp_path):
    _, top = head()
    train, (held, truth) = feeds()[0], problem(30, 1)
    wrong = Batches(held, truth[:, ::-1], np.ones(30, np.float32), batch_size=16)
    progress = fit(top.model(), train, wrong, schedule(50, patience=2), Checkpoint(tmp_path))
    assert progress.best_epoch == 0
    assert progress.epoch == 2


def test_the_scale_folds_into_the_classifiers_own_layer():
    classifier, _ = head()
    rng = np.random.default_rng(0)
    mean, deviation = rng.normal(size=256).astype(np.float32), rng.uniform(0.5, 9, 256).astype(np.float32)
    top = StandardHead(classifier, mean, deviation, l2=0.0, dropout=0.0)
    model = top.model()
    model.set_weights([rng.normal(size=w.shape) for w in model.get_weights()])
    top.fold()
    rows = rng.normal(size=(4, 256)).astype(np.float32)
    kernel, bias = head_arrays(classifier)
    np.testing.assert_allclose(rows @ kernel + bias, np.asarray(model(rows)), atol=1e-3)


def test_a_feature_that_hardly_varies_is_not_blown_up():
    """Each depth has a scale of its own, and no feature counts as varying less than half as much as is usual there."""
    classifier = build_classifier("cnn", 2, input_size=32, head=HeadSpec(depths="several"))
    first, last = classifier.head.pools[0], classifier.head.pools[-1]
    deviation = np.full(classifier.head.embedding_size, 2.0, np.float32)
    deviation[first.start : first.stop] = 0.01
    deviation[[first.start, last.stop - 1]] = 1e-6
    top = StandardHead(classifier, np.zeros_like(deviation), deviation, l2=0.0, dropout=0.0)
    expected = deviation.copy()
    expected[[first.start, last.stop - 1]] = 0.005, 1.0
    np.testing.assert_allclose(top.deviation, expected)


def test_l2_holds_for_a_head_with_batch_normalisation_too(tmp_path):
    """It was dropped in silence."""
    sizes = {}
    for l2 in (0.0, 1.0):
        keras.utils.set_random_seed(0)
        classifier = build_classifier("cnn", 2, input_size=32, head=HeadSpec(batch_norm=True))
        top = StandardHead(classifier, np.zeros(256, np.float32), np.ones(256, np.float32), l2=l2, dropout=0.0)
        fit(top.model(), *feeds(), schedule(), Checkpoint(tmp_path / str(l2)))
        sizes[l2] = float(np.abs(head_arrays(classifier)[0]).mean())
    assert sizes[1.0] < 0.9 * sizes[0.0]


def test_a_head_with_batch_normalisation_is_trained_itself(tmp_path):
    classifier = build_classifier("cnn", 2, input_size=32, head=HeadSpec(batch_norm=True, dropout=0.1))
    top = StandardHead(classifier, np.zeros(256, np.float32), np.ones(256, np.float32), l2=0.0, dropout=0.1)
    before = head_arrays(classifier)[0]
    fit(top.model(), *feeds(), schedule(2), Checkpoint(tmp_path))
    top.fold()
    assert not np.allclose(head_arrays(classifier)[0], before)
