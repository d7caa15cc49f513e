"""Class activation and embeddings, through HTTP."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from tests.support import servers as server
from tests.support.images import jpeg
from tests.support.networks import network, store_classifier

PHOTOGRAPH = jpeg(90, 120, seed=5)


@pytest.fixture(scope="module")
def depths(tmp_path_factory):
    """A server with a head over several depths, and with a network that has no maps."""
    home = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTOML_HOME", str(home))
        for name, backbone, head in (("deep", "cnn", "several"), ("flat", "mlp", "last")):
            store_classifier(network(backbone, head), name=name, labels=tuple("abcde"))
    with server.serving(home, CATSEYE_DEFAULT_MODEL="deep") as running:
        yield running


def test_averages_at_several_depths_stay_exact(depths):
    taps = depths.client.get("/v1/models/deep").json()["taps"]
    assert len(taps) > 1
    for label in depths.labels:
        answer = explained(depths, label=label)
        assert answer["shape"] == taps[0]["shape"][:2]
        assert np.mean(answer["map"]) + answer["bias"] == pytest.approx(answer["logit"], abs=1e-3)
    assert depths.client.post("/v1/explain", content=PHOTOGRAPH).content.startswith(b"\x89PNG")


def test_a_network_without_averaged_maps_cannot_be_explained_and_says_so(depths):
    reply = depths.client.post("/v1/explain", params={"model": "flat"}, content=PHOTOGRAPH)
    assert (reply.status_code, reply.json()["code"]) == (422, "bad_parameter")
    assert "convolutional backbone" in reply.json()["detail"]
    maps = depths.client.post("/v1/feature-maps", params={"model": "flat"}, content=PHOTOGRAPH)
    assert (maps.status_code, maps.json()["code"]) == (404, "unknown_layer")


def explained(live, **params):
    reply = live.client.post("/v1/explain", params={"format": "json", **params}, content=PHOTOGRAPH)
    assert reply.status_code == 200, reply.text
    return reply.json()


def test_the_mean_of_the_map_plus_the_bias_is_the_logit_for_every_label(live):
    found = [explained(live, label=label) for label in live.labels]
    for answer in found:
        values = np.array(answer["map"])
        assert list(values.shape) == answer["shape"]
        assert values.mean() + answer["bias"] == pytest.approx(answer["logit"], abs=1e-3)
        assert values.mean() == pytest.approx(answer["mean"], abs=1e-5)
    assert sum(answer["probability"] for answer in found) == pytest.approx(1, abs=1e-4)


def test_the_logit_is_the_one_that_the_network_gives(live):
    reply = live.client.post(
        f"/v2/models/{live.model}/infer",
        json={
            "inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": [base64_of(PHOTOGRAPH)]}],
            "outputs": [{"name": "logits"}],
        },
    )
    logits = reply.json()["outputs"][0]["data"]
    assert [explained(live, label=label)["logit"] for label in live.labels] == pytest.approx(logits, abs=1e-3)


def base64_of(data):
    return base64.b64encode(data).decode()


def test_the_top_label_is_explained_by_default(live):
    first = live.client.post("/v1/classify", content=PHOTOGRAPH).json()["predictions"][0]
    answer = explained(live)
    assert answer["label"] == first["label"]
    assert answer["probability"] == pytest.approx(first["probability"], abs=1e-4)


def test_the_picture_shows_image_and_heat_map_side_by_side(live):
    reply = live.client.post("/v1/explain", content=PHOTOGRAPH)
    assert reply.headers["content-type"] == "image/png"
    picture = np.asarray(Image.open(io.BytesIO(reply.content)).convert("RGB"))
    assert picture.shape[1] >= 2 * 120
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 500


@pytest.mark.parametrize(
    ("params", "status", "code"),
    [
        ({"label": "no such label"}, 422, "bad_parameter"),
        ({"label": ""}, 422, "bad_parameter"),
        ({"format": "svg"}, 422, "bad_parameter"),
        ({"model": "nobody"}, 404, "unknown_model"),
        ({"version": "never"}, 404, "unknown_model"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(live, params, status, code):
    reply = live.client.post("/v1/explain", params=params, content=PHOTOGRAPH)
    assert (reply.status_code, reply.json()["code"]) == (status, code)
    assert ". " in reply.json()["detail"]


def test_something_else_than_an_image_is_a_400(live):
    reply = live.client.post("/v1/explain", content=b"no image at all")
    assert (reply.status_code, reply.json()["code"]) == (400, "bad_image")


def embedded(live, **params):
    reply = live.client.post("/v1/embed", params=params, content=PHOTOGRAPH)
    assert reply.status_code == 200, reply.text
    return reply.json()


def test_the_embedding_is_the_vector_under_the_head(live):
    answer = embedded(live)
    assert answer["size"] == len(answer["embedding"])
    assert not answer["normalized"]


def test_a_normalized_embedding_has_length_one_and_the_same_direction(live):
    plain, unit = (
        np.array(embedded(live)["embedding"]),
        np.array(embedded(live, normalize="true")["embedding"]),
    )
    assert np.linalg.norm(unit) == pytest.approx(1, abs=1e-5)
    assert unit * np.linalg.norm(plain) == pytest.approx(plain, abs=1e-4)
