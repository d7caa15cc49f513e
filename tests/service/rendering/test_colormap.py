import numpy as np
import pytest

from service.rendering.colormap import CENTRE, TABLE, colour, legend


def luminance(rgb):
    return rgb.astype(float) @ [0.2126, 0.7152, 0.0722]


def test_zero_is_black_and_both_sides_grow_steadily_lighter():
    light = luminance(TABLE)
    assert light[CENTRE] < 2
    assert (np.diff(light[CENTRE:]) >= -0.5).all()
    assert (np.diff(light[CENTRE::-1]) >= -0.5).all()
    assert light[0] > 200
    assert light[-1] > 200


def test_positive_is_warm_and_negative_is_cold():
    warm, cold = colour(np.array([0.6, -0.6]), 1.0)
    assert warm[0] > warm[2]
    assert cold[2] > cold[0]


def test_the_warm_half_is_inferno():
    matplotlib = pytest.importorskip("matplotlib")
    inferno = matplotlib.colormaps["inferno"](np.arange(256))[:, :3] * 255
    assert np.abs(TABLE[CENTRE:].astype(float) - inferno).max() < 11


def test_values_beyond_the_limit_take_its_colour():
    assert (colour(np.array([5.0, -5.0]), 1.0) == TABLE[[-1, 0]]).all()


def test_a_map_of_zeros_is_black():
    assert (colour(np.zeros((2, 3)), 0.0) == TABLE[CENTRE]).all()


def test_the_legend_runs_over_the_scale():
    bar = legend(101, 4, signed=True)
    assert bar.shape == (4, 101, 3)
    assert (bar[0, [0, 50, 100]] == TABLE[[0, CENTRE, -1]]).all()
    assert (legend(11, 1, signed=False)[0, 0] == TABLE[CENTRE]).all()
