import base64
import json

import numpy as np
import pytest

from service.routes.lab.routes import MAX_STEP_NUMBERS, PRESETS
from service.routes.lab.schemas import ConvolveAnswer
from tests.support.images import encode

EDGE = [[0, -1, 0], [-1, 4, -1], [0, -1, 0]]
RNG = np.random.default_rng(2)


@pytest.fixture
def lab(client):
    """The answer to a request."""

    def ask(**request):
        reply = client.post("/v1/convolve", content=json.dumps(request))
        assert reply.status_code == 200, reply.text
        ConvolveAnswer.model_validate(reply.json())
        return reply.json()

    return ask


@pytest.fixture
def refusal(client):
    """What is said of a request that cannot be answered: a sentence on what was wrong, and one on what to do."""

    def ask(**request):
        reply = client.post("/v1/convolve", content=json.dumps(request))
        assert reply.json()["code"] == "bad_parameter"
        assert reply.json()["detail"].endswith(".")
        return reply.json()["detail"]

    return ask


def test_steps_show_window_products_and_sum(lab):
    answer = lab(image=[[1, 2, 3], [4, 5, 6]], kernel=[[1, 0], [0, -1]], steps=True)
    assert answer["feature_maps"] == [[[-4, -4]]]
    assert answer["steps"][1] == {
        "map": 0, "row": 0, "column": 1, "top": 0, "left": 1,
        "window": [[2, 3], [5, 6]], "products": [[2, 0], [0, -6]], "sum": -4,
    }  # fmt: skip


def test_steps_begin_inside_the_padding(lab):
    answer = lab(image=[[1, 2], [3, 4]], kernel=np.ones((3, 3)).tolist(), padding="same", steps=True)
    assert answer["padding"] == {"top": 1, "bottom": 1, "left": 1, "right": 1}
    assert (answer["steps"][0]["top"], answer["steps"][0]["left"]) == (-1, -1)
    assert answer["steps"][0]["window"] == [[0, 0, 0], [0, 1, 2], [0, 3, 4]]


def test_a_list_of_kernels_makes_a_map_each(lab):
    answer = lab(image=[[1, 2], [3, 4]], kernel=[[[1]], [[10]]])
    assert answer["shape"] == [2, 2, 2]
    assert answer["feature_maps"] == [[[1, 2], [3, 4]], [[10, 20], [30, 40]]]


def test_a_kernel_with_channels_sums_over_them_all(lab):
    image = [[[1, 10], [2, 20]]]
    assert lab(image=image, kernel=[[[1, 1]]])["feature_maps"] == [[[11, 22]]]
    several = lab(image=image, kernel=[[[[1, 0]]], [[[0, 1]]]], steps=True)
    assert several["feature_maps"] == [[[1, 2]], [[10, 20]]]
    assert several["steps"][3]["products"] == [[[0, 20]]]


def test_pooling_follows_the_convolution_and_its_windows_leave_the_padding_out(lab):
    answer = lab(
        image=[[1, 2, 3]] * 3,
        kernel=[[2]],
        pool={"type": "average", "size": 2, "padding": "same"},
        steps=True,
    )
    assert answer["pooled"] == [[[3, 6], [3, 6]]]
    assert answer["pool_steps"][1]["window"] == [[6], [6]]


def test_pooling_alone_takes_every_channel_of_the_image(lab):
    answer = lab(image=[[[1, 9], [2, 8]], [[3, 7], [4, 6]]], pool={"size": [2, 2], "stride": [1, 1]})
    assert answer["pooled"] == [[[4]], [[9]]]
    assert "feature_maps" not in answer


@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,"])
def test_an_image_file_in_base64_is_read_grey_or_in_colour(lab, prefix):
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[..., 0] = 200
    text = prefix + base64.b64encode(encode(pixels, "PNG")).decode()
    grey = lab(image=text, kernel=[[1]])
    assert grey["input"] == {"shape": [4, 6, 1], "shrunk_from": None}
    assert np.unique(grey["feature_maps"]).tolist() == [60]
    colour = lab(image=text, kernel=[[[1, 0, 0]]], colour="rgb")
    assert np.unique(colour["feature_maps"]).tolist() == [200]


def test_a_large_image_file_is_shrunk_and_the_answer_says_so(lab):
    text = base64.b64encode(encode(np.zeros((80, 120, 3), np.uint8), "JPEG")).decode()
    answer = lab(image=text, kernel=EDGE, max_side=30)
    assert answer["input"] == {"shape": [20, 30, 1], "shrunk_from": [80, 120]}


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_every_preset_runs(lab, preset):
    lab(**preset.request)


def test_the_maps_are_drawn_on_request(client):
    for request in ({"kernel": [EDGE, EDGE]}, {"pool": {"size": 2}}):
        body = {"image": [[1, 2, 3, 9]] * 4, **request}
        assert client.post("/v1/convolve?format=png", json=body).content.startswith(b"\x89PNG")


def test_names_of_presets_are_unique():
    assert len({preset.name for preset in PRESETS}) == len(PRESETS)


REFUSED = {
    "nothing to do": {"image": [[1]]},
    "ragged image": {"image": [[1, 2], [3]], "kernel": [[1]]},
    "ragged kernel": {"image": [[1, 2]], "kernel": [[1], [1, 2]]},
    "no image": {"kernel": [[1]]},
    "a number": {"image": 7, "kernel": [[1]]},
    "a list": {"image": [1, 2], "kernel": [[1]]},
    "four dimensions": {"image": [[[[1]]]], "kernel": [[1]]},
    "empty": {"image": [], "kernel": [[1]]},
    "empty row": {"image": [[]], "kernel": [[1]]},
    "text in a row": {"image": [["1"]], "kernel": [[1]]},
    "truth in a row": {"image": [[True]], "kernel": [[1]]},
    "huge number": {"image": [[1e200]], "kernel": [[1]]},
    "not a number": {"image": [[float("nan")]], "kernel": [[1]]},
    "stride 0": {"image": [[1]], "kernel": [[1]], "stride": 0},
    "stride as text": {"image": [[1]], "kernel": [[1]], "stride": "2"},
    "three strides": {"image": [[1]], "kernel": [[1]], "stride": [1, 1, 1]},
    "padding full": {"image": [[1]], "kernel": [[1]], "padding": "full"},
    "kernel larger than the image": {"image": [[1]], "kernel": [[1, 1]]},
    "pool larger than the map": {"image": [[1]], "pool": {"size": 2}},
    "matrix for channels": {"image": [[[1, 2]]], "kernel": [[1]]},
    "wrong channels": {"image": [[[1, 2]]], "kernel": [[[1, 2, 3]]]},
    "channels for a matrix": {"image": [[1]], "kernel": [[[[1, 2]]]]},
    "unknown key": {"image": [[1]], "kernel": [[1]], "strides": 2},
    "unknown pool": {"image": [[1]], "pool": {"type": "median"}},
    "no base64": {"image": "not base64!", "kernel": [[1]]},
    "kernel too large": {"image": [[1]], "kernel": [[1] * 65]},
    "steps of a large image": {"image": [[1] * 200] * 200, "kernel": [[1]], "steps": True},
    "pool steps of a large image": {"image": [[1] * 200] * 200, "pool": {"size": 2}, "steps": True},
    "too much work": {"image": [[1] * 300] * 300, "kernel": [[1] * 40] * 40},
    "too many products": {"image": [[1] * 100] * 100, "kernel": [[[1] * 20] * 20] * 64},
    "too long an answer": {"image": [[1] * 200] * 200, "kernel": [[[1]]] * 8},
    "too large an image": {"image": [[1] * 1000] * 301, "kernel": [[1]]},
    "too much pooling": {"image": [[1] * 500] * 500, "pool": {"size": 60, "stride": 1}},
}


@pytest.mark.parametrize("request_", REFUSED.values(), ids=REFUSED)
def test_impossible_requests_are_refused_in_words(refusal, request_):
    detail = refusal(**request_)
    assert 40 < len(detail) < 300


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"\xff\xfe",
        b'{"image": ' + b"[" * 100_000,
        b'{"image":[[1' + b"0" * 5000 + b"]]}",
    ],
    ids=["empty", "cut", "null", "list", "no text", "deep", "long number"],
)
def test_bodies_that_are_no_request_are_refused_in_words(client, body):
    assert client.post("/v1/convolve", content=body).json()["code"] == "bad_parameter"


def test_the_place_of_a_mistake_is_named(refusal):
    assert "`image.1.0`" in refusal(image=[[1], ["x"]], kernel=[[1]])
    assert "`pool.size`" in refusal(image=[[1]], pool={"size": 0})


def test_base64_of_something_else_is_a_bad_image(client):
    request = {"image": base64.b64encode(b"hello world").decode(), "kernel": [[1]]}
    assert client.post("/v1/convolve", json=request).json()["code"] == "bad_image"


def test_the_limit_on_steps_admits_the_lecture_and_more(lab):
    side = int((MAX_STEP_NUMBERS / 9) ** 0.5)
    assert side > 50
    answer = lab(image=np.ones((side, side)).tolist(), kernel=EDGE, padding="same", steps=True)
    assert len(answer["steps"]) == side * side


def test_the_schema_has_no_references_left(client):
    operation = client.get("/openapi.json").json()["paths"]["/v1/convolve"]["post"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    assert "$ref" not in json.dumps(schema)
    assert schema["required"] == ["image"]
