"""The lecture's numbers, and the answers of SciPy and TensorFlow."""

from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.signal import correlate2d

from models.errors import BadParameter
from service.routes.lab.convolution import Padding, PoolKind, convolve, output_shape, pad, pad_widths, pool, steps

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
ROOM = [
    [60, 113, 56, 139, 85],
    [73, 121, 54, 84, 128],
    [131, 99, 70, 129, 127],
    [80, 57, 115, 69, 134],
    [104, 126, 123, 95, 130],
]
SHARPEN = [[0, -1, 0], [-1, 5, -1], [0, -1, 0]]
ROOM_MAP = [
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


def test_lecture_convolution() -> None:
    assert convolve(STAIRS, STAIRS_KERNEL).tolist() == STAIRS_MAP


def test_lecture_first_drawing() -> None:
    assert convolve(DRAWING, [[1, 0], [0, 1]]).tolist() == [[1, 1, 1], [2, 1, 2], [1, 2, 1]]


def test_lecture_channels_are_summed_and_kernels_give_maps() -> None:
    image = np.stack([STAIRS, STAIRS, STAIRS], axis=2)
    kernel = np.stack([STAIRS_KERNEL] * 3, axis=2)
    assert convolve(image, kernel).tolist() == (3 * np.array(STAIRS_MAP)).tolist()
    several = convolve(image, np.stack([kernel, -kernel, 0 * kernel], axis=3))
    assert several.shape == (4, 4, 3)
    assert several[:, :, 1].tolist() == (-3 * np.array(STAIRS_MAP)).tolist()
    assert not several[:, :, 2].any()


def test_lecture_padding() -> None:
    assert convolve(ROOM, SHARPEN, padding="same").tolist() == ROOM_MAP
    assert convolve(ROOM, SHARPEN).tolist() == np.array(ROOM_MAP)[1:-1, 1:-1].tolist()
    edged = pad(ROOM, 3)
    assert edged.shape == (7, 7)
    assert edged[1:-1, 1:-1].tolist() == ROOM
    assert not edged[[0, -1]].any()
    assert not edged[:, [0, -1]].any()
    assert pad(ROOM, 3, padding="valid").tolist() == ROOM


def test_lecture_stride_moves_two_right_and_two_down() -> None:
    assert convolve(STAIRS, STAIRS_KERNEL, stride=2).tolist() == [[1, 1], [-2, 1]]
    assert convolve(STAIRS, STAIRS_KERNEL, stride=(2, 1)).tolist() == [STAIRS_MAP[0], STAIRS_MAP[2]]


@pytest.mark.parametrize("image", [SPOTS, SPOTS_MOVED])
def test_lecture_max_pooling_forgives_a_shift(image: list[list[int]]) -> None:
    assert pool(image, 3, 3).tolist() == [[9, 7], [6, 8]]
    assert pool(image, 3).tolist() == [[9, 7], [6, 8]]


def test_average_pooling_is_the_mean() -> None:
    assert pool(SPOTS, 3, kind="average").tolist() == [[2, 21 / 9], [19 / 9, 17 / 9]]


def test_steps_spell_out_every_value() -> None:
    walked = list(steps(ROOM, SHARPEN, padding="same"))
    assert [step.total for step in walked] == np.ravel(ROOM_MAP).tolist()
    first = walked[0]
    assert (first.row, first.column, first.top, first.left, first.kernel) == (0, 0, -1, -1, 0)
    assert first.window.tolist() == [[0, 0, 0], [0, 60, 113], [0, 73, 121]]
    assert first.products.tolist() == [[0, 0, 0], [0, 300, -113], [0, -73, 0]]
    assert first.total == first.products.sum() + first.bias == 114


def test_steps_of_several_kernels_agree_with_the_maps() -> None:
    rng = np.random.default_rng(0)
    image, kernels, bias = rng.normal(size=(5, 6, 2)), rng.normal(size=(3, 2, 2, 3)), [0.5, 0, -1]
    maps = convolve(image, kernels, stride=2, padding="same", bias=bias)
    walked = list(steps(image, kernels, stride=2, padding="same", bias=bias))
    assert len(walked) == maps.size
    for step in walked:
        assert step.window.shape == step.products.shape == (3, 2, 2)
        assert step.total == pytest.approx(maps[step.row, step.column, step.kernel])


def test_bias_is_added_once() -> None:
    assert convolve(STAIRS, STAIRS_KERNEL, bias=10).tolist() == (np.array(STAIRS_MAP) + 10).tolist()


@pytest.mark.parametrize(
    ("length", "window", "stride", "before", "after"),
    [(5, 3, 1, 1, 1), (6, 3, 2, 0, 1), (5, 2, 1, 0, 1), (7, 3, 3, 1, 1), (4, 1, 2, 0, 0), (224, 3, 2, 0, 1)],
)
def test_same_padding_is_tensorflows_arithmetic(length: int, window: int, stride: int, before: int, after: int) -> None:
    assert pad_widths((length, length), window, stride, "same") == ((before, after), (before, after))
    assert output_shape((length, length), window, stride, "same") == (-(-length // stride),) * 2


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
        "bias": rng.normal(size=kernels),
        "stride": (draw(strides), draw(strides)),
        "padding": padding,
    }


@given(problems())
def test_agrees_with_scipy(problem: dict[str, Any]) -> None:
    image, kernel = problem["image"][:, :, 0], problem["kernels"][:, :, 0, 0]
    if problem["padding"] == "same":
        full = correlate2d(image, kernel, mode="full")
        (top, _), (left, _) = pad_widths(image.shape, kernel.shape, 1, "same")
        first = kernel.shape[0] - 1 - top, kernel.shape[1] - 1 - left
        expected = full[first[0] : first[0] + image.shape[0], first[1] : first[1] + image.shape[1]]
    else:
        expected = correlate2d(image, kernel, mode="valid")
    np.testing.assert_allclose(convolve(image, kernel, padding=problem["padding"]), expected, atol=1e-9)


@settings(deadline=None)
@given(problems())
def test_agrees_with_tensorflow_convolution(problem: dict[str, Any]) -> None:
    import tensorflow as tf

    expected = tf.nn.conv2d(problem["image"][None], problem["kernels"], problem["stride"], problem["padding"].upper())
    ours = convolve(problem["image"], problem["kernels"], problem["stride"], problem["padding"], problem["bias"])
    np.testing.assert_allclose(ours, expected[0].numpy() + problem["bias"], atol=1e-9)


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
def test_shapes_are_foretold(problem: dict[str, Any]) -> None:
    image, kernels = problem["image"], problem["kernels"]
    foretold = output_shape(image.shape, kernels.shape[:2], problem["stride"], problem["padding"])
    ours = convolve(image, kernels, problem["stride"], problem["padding"])
    assert ours.shape == (*foretold, kernels.shape[3])


ONE = np.ones((4, 4))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"kernel": np.ones((5, 5))}, "larger than the image"),
        ({"kernel": np.ones(3)}, "shape 3"),
        ({"kernel": 7}, "a single number"),
        ({"kernel": np.ones((2, 2, 3))}, "channel"),
        ({"kernel": np.ones((2, 2, 2, 2, 2))}, "shape 2x2x2x2x2"),
        ({"kernel": []}, "shape 0"),
        ({"kernel": [[1, 2], [3]]}, "no rectangular array"),
        ({"kernel": [["a"]]}, "no rectangular array"),
        ({"kernel": [[None]]}, "no rectangular array"),
        ({"kernel": [[1j]]}, "no rectangular array"),
        ({"kernel": [[10**400]]}, "kernel"),
        ({"kernel": [[float("nan")]]}, "not finite"),
        ({"kernel": [[float("inf")]]}, "not finite"),
        ({"kernel": [[1e308]]}, "not finite"),
        ({"image": np.ones((0, 4))}, "image has the shape"),
        ({"image": np.ones((2, 2, 2, 2))}, "image has the shape"),
        ({"image": "abc"}, "no rectangular array"),
        ({"stride": 0}, "Stride 0"),
        ({"stride": -1}, "Stride -1"),
        ({"stride": 1.5}, "Stride 1.5"),
        ({"stride": True}, "Stride True"),
        ({"stride": "2"}, "Stride '2'"),
        ({"stride": (1, 2, 3)}, "Stride (1, 2, 3)"),
        ({"padding": "full"}, "Padding 'full'"),
        ({"padding": None}, "Padding None"),
        ({"bias": [1, 2]}, "bias"),
        ({"bias": float("nan")}, "bias"),
    ],
)
def test_bad_parameters_are_told_in_two_sentences(arguments: dict[str, Any], says: str) -> None:
    given_ = {"image": ONE, "kernel": np.ones((2, 2))} | arguments
    with pytest.raises(BadParameter) as caught:
        convolve(**given_)
    assert says in caught.value.detail
    assert caught.value.detail.count(". ") >= 1
    with pytest.raises(BadParameter):
        list(steps(**given_))


@pytest.mark.parametrize(
    "arguments",
    [{"kind": "min"}, {"size": 0}, {"size": 9}, {"stride": 0}, {"size": (2, 2, 2)}, {"padding": "reflect"}],
)
def test_bad_pooling_is_told(arguments: dict[str, Any]) -> None:
    with pytest.raises(BadParameter):
        pool(ONE, **arguments)


def test_unhashable_choices_are_told() -> None:
    with pytest.raises(BadParameter):
        pool(ONE, kind=cast(PoolKind, ["max"]))
    with pytest.raises(BadParameter):
        convolve(ONE, ONE, padding=cast(Padding, {}))


def test_huge_strides_and_windows_stay_small() -> None:
    assert convolve(ONE, ONE, stride=10**9).shape == (1, 1)
    tall: NDArray[np.float64] = np.ones((2_000, 1))
    assert convolve(tall, [[1]], stride=(1, 10**6)).shape == (2_000, 1)
