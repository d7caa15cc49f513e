"""The lecture's sections 2 to 4 through HTTP, number by number, and against TensorFlow on random input."""

import base64
import itertools

import numpy as np
import pytest

from tests.support.images import png
from tests.support.lecture import AS_PRINTED, EDGED, FEATURE_MAP, IMAGE, KERNEL, POOLED, SHARPEN, SHARPENED, SHIFTED


@pytest.fixture
def client(live):
    return live.client


def lab(client, **request):
    reply = client.post("/v1/convolve", json=request)
    assert reply.status_code == 200, reply.text
    return reply.json()


def test_section_2_the_feature_map_of_a_3x3_kernel(client):
    answer = lab(client, image=IMAGE, kernel=KERNEL, stride=1, padding="valid")
    assert answer["shape"] == [4, 4, 1]
    assert answer["feature_maps"] == [FEATURE_MAP]


def test_section_2_the_image_as_printed_differs_only_around_the_slip(client):
    answer = lab(client, image=AS_PRINTED, kernel=KERNEL)
    assert answer["feature_maps"] == [[[3, 0, 1, -1], [2, 1, -1, 1], *FEATURE_MAP[2:]]]


def test_section_2_step_by_step(client):
    answer = lab(client, image=IMAGE, kernel=KERNEL, steps=True)
    assert len(answer["steps"]) == 16
    first = answer["steps"][0]
    assert first["window"] == [[8, 8, 8], [8, 8, 7], [8, 8, 6]]
    assert first["products"] == [[0, 0, 8], [-8, 8, -7], [8, -8, 0]]
    assert first["sum"] == 1
    assert [[step["sum"] for step in answer["steps"][row * 4 : row * 4 + 4]] for row in range(4)] == FEATURE_MAP


def test_section_2_the_first_drawing(client):
    image = [[1, 0, 1, 0], [1, 0, 1, 0], [1, 1, 1, 1], [0, 0, 1, 0]]
    answer = lab(client, image=image, kernel=[[1, 0], [0, 1]])
    assert answer["feature_maps"] == [[[1, 1, 1], [2, 1, 2], [1, 2, 1]]]


def test_section_2_products_are_summed_over_all_channels_and_each_kernel_makes_a_map(client):
    rng = np.random.default_rng(0)
    image, kernels = rng.integers(0, 9, (4, 5, 3)), rng.integers(-2, 3, (2, 3, 3, 3))
    answer = lab(client, image=image.tolist(), kernel=kernels.tolist())
    by_channel = [
        sum(
            np.array(lab(client, image=image[..., c].tolist(), kernel=kernel[..., c].tolist())["feature_maps"][0])
            for c in range(3)
        ).tolist()
        for kernel in kernels
    ]
    assert answer["feature_maps"] == by_channel
    assert answer["shape"] == [2, 3, 2]


def test_section_3_zero_padding_keeps_the_size(client):
    answer = lab(client, image=EDGED, kernel=SHARPEN, padding="same", stride=1)
    assert answer["feature_maps"] == [SHARPENED]
    assert answer["padding"] == {"top": 1, "bottom": 1, "left": 1, "right": 1}


def test_section_3_without_padding_the_output_shrinks(client):
    answer = lab(client, image=EDGED, kernel=SHARPEN, padding="valid")
    assert answer["feature_maps"] == [[row[1:-1] for row in SHARPENED[1:-1]]]


def test_section_4_stride_2_moves_two_right_and_two_down(client):
    answer = lab(client, image=IMAGE, kernel=KERNEL, stride=2)
    assert answer["feature_maps"] == [[row[::2] for row in FEATURE_MAP[::2]]]
    pair = lab(client, image=IMAGE, kernel=KERNEL, stride=[1, 2])
    assert pair["feature_maps"] == [[row[::2] for row in FEATURE_MAP]]


@pytest.mark.parametrize("image", [POOLED, SHIFTED, np.roll(POOLED, 1, axis=1).tolist()])
def test_section_4_max_pooling_forgives_a_shift(client, image):
    answer = lab(client, image=image, pool={"type": "max", "size": 3, "stride": 3})
    assert answer["pooled"] == [[[9, 7], [6, 8]]]


def test_section_4_average_pooling_takes_the_mean(client):
    answer = lab(client, image=POOLED, pool={"type": "average", "size": 3, "stride": 3})
    windows = [np.mean([row[x : x + 3] for row in POOLED[y : y + 3]]) for y in (0, 3) for x in (0, 3)]
    assert np.ravel(answer["pooled"]) == pytest.approx(windows)


def test_pooling_after_the_convolution(client):
    answer = lab(client, image=IMAGE, kernel=KERNEL, pool={"type": "max", "size": 2}, steps=True)
    assert answer["pooled"] == [[[4, 1], [0, 1]]]
    assert [step["result"] for step in answer["pool_steps"]] == [4, 1, 0, 1]


CASES = list(itertools.product(["valid", "same"], [1, 2, 3], [(1, 1), (3, 3), (4, 2), (5, 5)], [1, 3], [1, 2]))


def test_convolution_agrees_with_tensorflow_on_random_input(client):
    import tensorflow as tf

    rng = np.random.default_rng(7)
    for padding, stride, window, channels, count in CASES:
        image = rng.normal(size=(int(rng.integers(5, 12)), int(rng.integers(5, 12)), channels))
        kernels = rng.normal(size=(*window, channels, count))
        answer = lab(
            client,
            image=image.tolist(),
            kernel=np.moveaxis(kernels, 3, 0).tolist(),
            stride=stride,
            padding=padding,
        )
        expected = tf.nn.conv2d(image[None], kernels, stride, padding.upper()).numpy()[0]
        assert np.allclose(np.moveaxis(answer["feature_maps"], 0, 2), expected, atol=1e-12)


def test_pooling_agrees_with_tensorflow_on_random_input(client):
    import tensorflow as tf

    rng = np.random.default_rng(8)
    kinds, paddings, steps_and_sizes = (
        ["max", "average"],
        ["valid", "same"],
        [(1, 1), (1, 2), (2, 2), (1, 3), (2, 3), (3, 3)],
    )
    for kind, padding, (stride, size) in itertools.product(kinds, paddings, steps_and_sizes):
        image = rng.normal(size=(int(rng.integers(4, 11)), int(rng.integers(4, 11)), 2))
        pool = {"type": kind, "size": size, "stride": stride, "padding": padding}
        answer = lab(client, image=image.tolist(), pool=pool)
        expected = tf.nn.pool(
            image[None], [size, size], "AVG" if kind == "average" else "MAX", [stride] * 2, padding.upper()
        )
        assert np.allclose(np.moveaxis(answer["pooled"], 0, 2), expected.numpy()[0], atol=1e-12)


def test_a_photograph_is_convolved(client):
    text = base64.b64encode(png(40, 60)).decode()
    answer = lab(client, image=text, kernel=[[[-1, 0, 1]] * 3, [[-1] * 3, [0] * 3, [1] * 3]], padding="same")
    assert answer["shape"] == [40, 60, 2]
    picture = client.post("/v1/convolve", params={"format": "png"}, json={"image": text, "kernel": SHARPEN})
    assert picture.headers["content-type"] == "image/png"
    assert picture.content.startswith(b"\x89PNG")


def test_presets_are_listed_and_run_as_they_are(client):
    presets = client.get("/v1/convolve/presets").json()
    assert {"drawing", "feature-map", "padding", "max-pooling", "max-pooling-shifted"} <= {p["name"] for p in presets}
    for preset in presets:
        lab(client, **preset["request"])


@pytest.mark.parametrize(
    "request_",
    [
        {"image": [[1, 2], [3]], "kernel": [[1]]},
        {"image": [[1]], "kernel": [[1]], "stride": 0},
        {"image": [[1]], "kernel": [[1, 1]]},
        {"image": [[1]]},
        {"image": [[1] * 200] * 200, "kernel": [[1]], "steps": True},
    ],
    ids=["ragged", "stride", "large kernel", "nothing", "too many steps"],
)
def test_impossible_requests_are_a_422_that_says_what_to_do(client, request_):
    reply = client.post("/v1/convolve", json=request_)
    assert reply.status_code == 422
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json()["code"] == "bad_parameter"
    assert ". " in reply.json()["detail"]


def test_base64_that_is_no_image_is_a_400(client):
    reply = client.post("/v1/convolve", json={"image": base64.b64encode(b"no image").decode(), "kernel": [[1]]})
    assert (reply.status_code, reply.json()["code"]) == (400, "bad_image")


@pytest.mark.parametrize(
    "body", [b"", b"{", b"null", b"\xff\xff", b"[" * 50_000], ids=["empty", "cut", "null", "bytes", "deep"]
)
def test_bodies_that_are_no_request_are_no_500(client, body):
    reply = client.post("/v1/convolve", content=body, headers={"content-type": "application/json"})
    assert reply.status_code == 422
