import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.arrays import softmax
from models.card import Head, Pool
from models.errors import BadParameter
from models.export.head import read_head
from models.runtime.cam import class_activation, spread
from models.runtime.open import open_runtime
from tests.support.networks import Depths, images, stored


def test_softmax() -> None:
    logits = np.array([[0, 1, 2], [1000, 0, -1000]], np.float32)
    probabilities = softmax(logits)
    np.testing.assert_allclose(probabilities.sum(-1), 1, atol=1e-15)
    np.testing.assert_allclose(probabilities[0], np.exp([0, 1, 2]) / np.exp([0, 1, 2]).sum())
    np.testing.assert_array_equal(probabilities[1], [1, 0, 0])
    np.testing.assert_allclose(softmax(logits[0], 2.0), softmax(logits[0] / 2))


@given(old=st.tuples(*[st.integers(1, 9)] * 2), new=st.tuples(*[st.integers(1, 20)] * 2))
def test_spread_keeps_the_mean(old: tuple[int, int], new: tuple[int, int]) -> None:
    grid = np.random.default_rng(0).normal(size=old)
    assert spread(grid, *new).shape == new
    assert abs(spread(grid, *new).mean() - grid.mean()) < 1e-12
    np.testing.assert_allclose(spread(np.ones(old), *new), 1, atol=1e-12)


def test_spread_by_a_whole_number_repeats_cells() -> None:
    grid = np.arange(6.0).reshape(2, 3)
    np.testing.assert_allclose(spread(grid, 4, 9), grid.repeat(2, 0).repeat(3, 1), atol=1e-12)


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize(
    ("backbone", "size", "depths"),
    [("cnn", 36, "last"), ("cnn", 36, "several"), ("mobilenet_v2", 64, "several")],
)
def test_the_mean_of_the_map_and_the_bias_are_the_logit(
    backbone: str, size: int, depths: Depths, precision: str
) -> None:
    model = stored(backbone, depths, size)
    kernel, bias = read_head(model.path)
    head = model.card.head
    names = ["logits", *(f"tap_{pool.tap}" for pool in head.pools)]
    runtime = open_runtime(model, precision="int8" if precision == "int8" else "float32")
    answer = runtime.run(images(3, size), names)
    assert np.ptp(answer["logits"]) > 0.5
    for number in range(3):
        maps = {pool.tap: answer[f"tap_{pool.tap}"][number] for pool in head.pools}
        for label in range(5):
            found = class_activation(maps, kernel, bias, head, label)
            assert found.shape == max(each.shape[:2] for each in maps.values())
            assert found.mean() + bias[label] == pytest.approx(answer["logits"][number, label], abs=1e-4)


def test_what_has_no_map() -> None:
    kernel, bias = np.zeros((4, 2), np.float32), np.zeros(2, np.float32)
    maps = {0: np.zeros((3, 3, 4), np.float32)}
    pooled = Head(embedding_size=4, pools=(Pool(tap=0, start=0, stop=4),))
    assert class_activation(maps, kernel, bias, pooled, 1).shape == (3, 3)
    with pytest.raises(BadParameter, match="averages no feature map"):
        class_activation(maps, kernel, bias, Head(embedding_size=4), 0)
    with pytest.raises(BadParameter, match="labels 0 to 1"):
        class_activation(maps, kernel, bias, pooled, 2)
    with pytest.raises(BadParameter, match="tap 0 is missing"):
        class_activation({}, kernel, bias, pooled, 0)
