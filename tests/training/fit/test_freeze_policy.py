import numpy as np
import pytest

from training.fit.freeze_policy import LARGE, SIMILAR, choose, kappa


@pytest.mark.parametrize(
    ("images", "similarity", "freeze"),
    [(LARGE, 0.5, "none"), (LARGE, SIMILAR, "few"), (LARGE - 1, 0.5, "most"), (LARGE - 1, SIMILAR, "head")],
)
def test_the_four_corners_of_the_last_slide(images, similarity, freeze):
    choice = choose(images, similarity)
    assert choice.freeze == freeze
    assert str(images) in choice.reason
    assert f"{similarity:.2f}" in choice.reason


def test_without_validation_images_the_base_stays():
    assert choose(5000, None).freeze == "head"


def test_kappa_against_worked_values():
    # Cohen 1960: 45 of 100 agree beyond what chance gives: observed 0.7, expected 0.5.
    truth = np.array([0] * 50 + [1] * 50)
    predicted = np.array([0] * 35 + [1] * 15 + [0] * 15 + [1] * 35)
    assert kappa(truth, predicted) == pytest.approx(0.4)
    assert kappa(truth, truth) == 1
    assert kappa(truth, np.zeros_like(truth)) == pytest.approx(0)
    assert kappa(np.zeros(5, int), np.zeros(5, int)) == 1
