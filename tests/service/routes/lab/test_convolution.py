"""The lecture's numbers, and the answers of SciPy and TensorFlow."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import correlate2d

from models.errors import BadParameter
from service.routes.lab.convolution import Floats, PoolKind, convolve, output_shape, pad_widths, pool, steps

# lecture, section 2
STAIRS = [
    [8, 8, 8, 7, 6, 5],
    [8, 8, 7, 6, 5, 5],
    [8, 8, 6, 5, 5, 5],
    [8, 5, 5, 5, 4, 4],
    [5, 5, 5, 5, 4, 4],
    [4, 4, 4, 3, 3, 3],
]
STAIRS_KERNEL = [[0, 0, 1], [-1, 1, -1], [1, -1, 0]]
STAIRS_MAP = [[1, 2, 1, -1], [4, -1, -1, 1], [-2, 0, 1, 1], [0, 0, 1, -1]]
DRAWING = [[1, 0, 1, 0], [1, 0, 1, 0], [1, 1, 1, 1], [0, 0, 1, 0]]
# section 3
PICTURE = [
    [60, 113, 56, 139, 85],
    [73, 121, 54, 84, 128],
    [131, 99, 70, 129, 127],
    [80, 57, 115, 69, 134],
    [104, 126, 123, 95, 130],
]
SHARPEN = [[0, -1, 0], [-1, 5, -1], [0, -1, 0]]
SHARPENED = [
    [114, 328, -26, 470, 158],
    [53, 266, -61, -30, 344],
    [403, 116, -47, 295, 244],
    [108, -135, 256, -128, 344],
    [314, 346, 279, 153, 421],
]
# section 4
SPOTS = [
    [1, 2, 0, 7, 1, 0],
    [0, 9, 2, 3, 2, 3],
    [3, 0, 1, 2, 1, 2],
    [2, 4, 0, 1, 0, 1],
    [6, 0, 1, 2, 1, 2],
    [2, 4, 0, 1, 8, 1],
]
SPOTS_MOVED = [
    [1, 1, 2, 0, 7, 1],
    [3, 0, 9, 2, 3, 2],
    [3, 3, 0, 1, 1, 2],
    [3, 2, 4, 0, 1, 0],
    [2, 6, 0, 1, 2, 1],
    [1, 2, 4, 0, 1, 8],
]


def image(rows: list[list[int]]) -> Floats:
    return np.asarray(rows, np.float64)[:, :, None]


def kernel(rows: list[list[int]]) -> Floats:
    return np.asarray(rows, np.float64)[:, :, None, None]


def test_lecture_convolution() -> None:
    assert convolve(image(STAIRS), kernel(STAIRS_KERNEL)).tolist() == image(STAIRS_MAP).tolist()


def test_lecture_first_drawing() -> None:
    assert convolve(image(DRAWING), kernel([[1, 0], [0, 1]]))[..., 0].tolist() == [[1, 1, 1], [2, 1, 2], [1, 2, 1]]


def test_lecture_channels_are_summed_and_kernels_give_maps() -> None:
    pixels, one = np.repeat(image(STAIRS), 3, axis=2), np.repeat(kernel(STAIRS_KERNEL), 3, axis=2)
    maps = convolve(pixels, np.concatenate([one, -one, 0 * one], axis=3))
    assert maps.shape == (4, 4, 3)
    assert maps[:, :, 0].tolist() == (3 * np.array(STAIRS_MAP)).tolist()
    assert maps[:, :, 1].tolist() == (-3 * np.array(STAIRS_MAP)).tolist()
    assert not maps[:, :, 2].any()


def test_lecture_padding() -> None:
    assert convolve(image(PICTURE), kernel(SHARPEN), padding="same")[..., 0].tolist() == SHARPENED
    assert convolve(image(PICTURE), kernel(SHARPEN))[..., 0].tolist() == np.array(SHARPENED)[1:-1, 1:-1].tolist()


def test_lecture_stride_moves_two_right_and_two_down() -> None:
    assert convolve(image(STAIRS), kernel(STAIRS_KERNEL), (2, 2))[..., 0].tolist() == [[1, 1], [-2, 1]]
    one_right = convolve(image(STAIRS), kernel(STAIRS_KERNEL), (2, 1))
    assert one_right[..., 0].tolist() == [STAIRS_MAP[0], STAIRS_MAP[2]]


@pytest.mark.parametrize("rows", [SPOTS, SPOTS_MOVED])
def test_lecture_max_pooling_is_invariant_to_a_small_shift(rows: list[list[int]]) -> None:
    assert pool(image(rows), (3, 3), (3, 3))[..., 0].tolist() == [[9, 7], [6, 8]]


def test_average_pooling_is_the_mean() -> None:
    pooled = pool(image(SPOTS), (3, 3), (3, 3), "average")
    assert pooled[..., 0].tolist() == [[2, 21 / 9], [19 / 9, 17 / 9]]


def test_steps_spell_out_every_value() -> None:
    walked = list(steps(image(PICTURE), kernel(SHARPEN), padding="same"))
    assert [step.products.sum() for step in walked] == np.ravel(SHARPENED).tolist()
    first = walked[0]
    assert (first.row, first.column, first.top, first.left, first.kernel) == (0, 0, -1, -1, 0)
    assert first.window[..., 0].tolist() == [[0, 0, 0], [0, 60, 113], [0, 73, 121]]
    assert first.products[..., 0].tolist() == [[0, 0, 0], [0, 300, -113], [0, -73, 0]]


def test_steps_of_several_kernels_agree_with_the_maps() -> None:
    rng = np.random.default_rng(0)
    pixels, kernels = rng.normal(size=(5, 6, 2)), rng.normal(size=(3, 2, 2, 3))
    maps = convolve(pixels, kernels, (2, 2), "same")
    walked = list(steps(pixels, kernels, (2, 2), "same"))
    assert len(walked) == maps.size
    for step in walked:
        assert step.window.shape == step.products.shape == (3, 2, 2)
        assert step.products.sum() == pytest.approx(maps[step.row, step.column, step.kernel])


@pytest.mark.parametrize(
    ("length", "window", "stride", "before", "after"),
    [(5, 3, 1, 1, 1), (6, 3, 2, 0, 1), (5, 2, 1, 0, 1), (7, 3, 3, 1, 1), (4, 1, 2, 0, 0), (224, 3, 2, 0, 1)],
)
def test_same_padding_is_tensorflows_arithmetic(length: int, window: int, stride: int, before: int, after: int) -> None:
    edges = pad_widths((length, length), (window, window), (stride, stride), "same")
    assert edges == ((before, after), (before, after))
    assert output_shape((length, length), (window, window), (stride, stride), "same") == (-(-length // stride),) * 2


sides = st.integers(1, 9)
strides = st.integers(1, 4)
paddings = st.sampled_from(["valid", "same"])


@st.composite
def problems(draw: st.DrawFn) -> dict[str, Any]:
    """An image (1, h, w, c), kernels (kh, kw, c, n), strides and padding, that give at least one value."""
    padding = draw(paddings)
    height, width, channels, kernels = draw(sides), draw(sides), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    limit = 9 if padding == "same" else 0
    kh = draw(st.integers(1, max(height, limit)))
    kw = draw(st.integers(1, max(width, limit)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return {
        "image": rng.normal(size=(height, width, channels)),
        "kernels": rng.normal(size=(kh, kw, channels, kernels)),
        "stride": (draw(strides), draw(strides)),
        "padding": padding,
    }


@given(problems())
def test_agrees_with_scipy(problem: dict[str, Any]) -> None:
    image, kernel = problem["image"][:, :, :1], problem["kernels"][:, :, :1, :1]
    if problem["padding"] == "same":
        full = correlate2d(image[..., 0], kernel[..., 0, 0], mode="full")
        (top, _), (left, _) = pad_widths(image.shape, kernel.shape[:2], (1, 1), "same")
        first = kernel.shape[0] - 1 - top, kernel.shape[1] - 1 - left
        expected = full[first[0] : first[0] + image.shape[0], first[1] : first[1] + image.shape[1]]
    else:
        expected = correlate2d(image[..., 0], kernel[..., 0, 0], mode="valid")
    np.testing.assert_allclose(convolve(image, kernel, padding=problem["padding"])[..., 0], expected, atol=1e-9)


@settings(deadline=None)
@given(problems())
def test_agrees_with_tensorflow_convolution(problem: dict[str, Any]) -> None:
    import tensorflow as tf

    expected = tf.nn.conv2d(problem["image"][None], problem["kernels"], problem["stride"], problem["padding"].upper())
    ours = convolve(problem["image"], problem["kernels"], problem["stride"], problem["padding"])
    np.testing.assert_allclose(ours, expected[0].numpy(), atol=1e-9)


@settings(deadline=None)
@given(problems(), st.sampled_from(["max", "average"]))
def test_agrees_with_tensorflow_pooling(problem: dict[str, Any], kind: PoolKind) -> None:
    import tensorflow as tf

    window = problem["kernels"].shape[:2]
    operation = tf.nn.max_pool2d if kind == "max" else tf.nn.avg_pool2d
    expected = operation(problem["image"][None], window, problem["stride"], problem["padding"].upper())
    ours = pool(problem["image"], window, problem["stride"], kind, problem["padding"])
    np.testing.assert_allclose(ours, expected[0].numpy(), atol=1e-9)


@given(problems())
def test_shapes_are_predicted(problem: dict[str, Any]) -> None:
    image, kernels = problem["image"], problem["kernels"]
    predicted = output_shape(image.shape, kernels.shape[:2], problem["stride"], problem["padding"])
    ours = convolve(image, kernels, problem["stride"], problem["padding"])
    assert ours.shape == (*predicted, kernels.shape[3])


ONE = np.ones((4, 4, 1))


def test_kernels_that_do_not_fit_are_refused_with_what_to_do() -> None:
    for kernels, says in ((np.ones((5, 5, 1, 1)), "larger than the image"), (np.ones((2, 2, 3, 1)), "3 channel")):
        with pytest.raises(BadParameter, match=says):
            convolve(ONE, kernels)
    with pytest.raises(BadParameter, match="larger than the image"):
        pool(ONE, (9, 9), (1, 1))


def test_large_strides_stay_small() -> None:
    assert convolve(ONE, ONE[..., None], (10**9, 10**9)).shape == (1, 1, 1)
    assert convolve(np.ones((2_000, 1, 1)), np.ones((1, 1, 1, 1)), (1, 10**6)).shape == (2_000, 1, 1)
