import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.metrics import log_loss

from models.arrays import softmax
from models.errors import BadParameter
from training.evaluate.calibration import fit_temperature, losses, reliability


def drawn(temperature, images=20_000, classes=4, seed=0):
    """Logits ``temperature`` times too large, and labels drawn from the true probabilities."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (images, classes))
    targets = (softmax(logits).cumsum(axis=1) < rng.random((images, 1))).sum(axis=1)
    return logits * temperature, targets


@pytest.mark.parametrize("true", [0.4, 1.0, 3.0])
def test_the_temperature_that_spoilt_the_logits_is_found(true):
    logits, targets = drawn(true)
    found = fit_temperature(logits, targets)
    assert found == pytest.approx(true, rel=0.05)
    assert reliability(logits, targets, found).error < 0.02


def test_scaling_repairs_the_calibration_error():
    logits, targets = drawn(4.0)
    before, after = (reliability(logits, targets, t).error for t in (1.0, fit_temperature(logits, targets)))
    assert before > 5 * after


def test_few_images_without_an_error_do_not_drive_it_to_the_end():
    logits = np.array([[4.0, 0.0], [0.0, 3.0]] * 10)
    assert 0.3 < fit_temperature(logits, np.array([0, 1] * 10)) <= 1.0


def test_no_images_and_soft_targets():
    assert fit_temperature(np.zeros((0, 3)), np.zeros(0, int)) == 1.0
    logits, targets = drawn(2.0, 2000)
    assert fit_temperature(logits, np.eye(4)[targets]) == fit_temperature(logits, targets)


def test_broken_outputs_are_refused():
    with pytest.raises(BadParameter, match="smaller learning rate"):
        fit_temperature(np.array([[np.nan, 0.0]]), np.array([0]))


@given(arrays.arrays(np.float64, (5, 3), elements=st.floats(-1e6, 1e6)), st.floats(0.05, 20))
def test_probabilities_and_losses_stay_finite(logits, temperature):
    assert softmax(logits, temperature).sum(axis=1) == pytest.approx(1)
    assert np.isfinite(losses(logits, np.array([0, 1, 2, 0, 1]), temperature)).all()


def test_the_mean_loss_is_scikit_learns_log_loss():
    logits, targets = drawn(1.0, 500)
    assert losses(logits, targets, 1.7).mean() == pytest.approx(log_loss(targets, softmax(logits, 1.7)))


def test_bins_hold_what_belongs_to_them():
    logits = np.log([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
    found = reliability(logits, np.array([0, 1, 0, 1]), bins=5)
    assert found.counts.tolist() == [0, 0, 1, 1, 2]
    np.testing.assert_allclose(found.accuracy, [np.nan, np.nan, 1, 1, 0.5])
    np.testing.assert_allclose(found.confidence, [np.nan, np.nan, 0.6, 0.8, 0.9])
    assert found.error == pytest.approx((0.4 + 0.2 + 2 * 0.4) / 4)
