"""The Open Inference Protocol against the real service, spoken by NVIDIA's client and by hand."""

import base64
import json
import struct

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from models.image import decode as images
from tests.support.images import jpeg, png

FILES = [jpeg(60, 80, seed=1), png(64, 48, seed=2), jpeg(120, 90, seed=3)]


@pytest.fixture(scope="module")
def client(live):
    with triton.InferenceServerClient(live.address) as client:
        yield client


@pytest.fixture(scope="module")
def metadata(client, live):
    return client.get_model_metadata(live.model)


@pytest.fixture(scope="module")
def pixels(metadata):
    """(3, height, width, 3): the three files as the service itself decodes them."""
    height, width = metadata["inputs"][0]["shape"][1:3]
    return np.stack([images.decode(data, (height, width)) for data in FILES])


def tensor(pixels, binary=True):
    return triton.InferInput("image", list(pixels.shape), "UINT8").set_data_from_numpy(pixels, binary)


def encoded(files, binary=True):
    values = np.array(files if binary else [base64.b64encode(data) for data in files], dtype=object)
    return triton.InferInput("image", [len(files)], "BYTES").set_data_from_numpy(values, binary)


def wanted(*names, binary=True, **options):
    return [triton.InferRequestedOutput(name, binary_data=binary, **options) for name in names]


def classified(live, data):
    return live.client.post("/v1/classify", params={"top_k": 100}, content=data).json()["predictions"]


def test_the_server_and_its_model_are_live_and_ready(client, live, metadata):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(live.model)
    assert client.is_model_ready(live.model, metadata["versions"][0])
    assert not client.is_model_ready("nobody")
    assert not client.is_model_ready(live.model, "never")


def test_metadata(client, live, metadata):
    server = client.get_server_metadata()
    assert server["name"] == "catseye"
    assert "binary_tensor_data" in server["extensions"]
    assert metadata["name"] == live.model
    assert metadata == client.get_model_metadata(live.model, metadata["versions"][0])
    (image,) = metadata["inputs"]
    assert (image["name"], image["datatype"], image["shape"][0], image["shape"][3]) == (
        "image",
        "UINT8",
        -1,
        3,
    )
    assert [output["name"] for output in metadata["outputs"]] == [
        "logits",
        "probabilities",
        "labels",
        "embedding",
    ]


@pytest.mark.parametrize("binary_in", [True, False], ids=["binary in", "json in"])
@pytest.mark.parametrize("binary_out", [True, False], ids=["binary out", "json out"])
def test_pixels_are_classified_as_by_the_other_route(client, live, pixels, binary_in, binary_out):
    outputs = wanted("labels", "probabilities", binary=binary_out)
    result = client.infer(live.model, [tensor(pixels, binary_in)], outputs=outputs)
    labels = [item.decode() if binary_out else item for item in result.as_numpy("labels").tolist()]
    for place, data in enumerate(FILES):
        predictions = classified(live, data)
        assert labels[place] == predictions[0]["label"]
        probabilities = sorted(result.as_numpy("probabilities")[place].tolist(), reverse=True)
        assert probabilities == pytest.approx([item["probability"] for item in predictions], abs=1e-4)


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
def test_image_files_are_decoded_like_everywhere(client, live, pixels, binary):
    from_files = client.infer(live.model, [encoded(FILES, binary)], outputs=wanted("logits"))
    from_pixels = client.infer(live.model, [tensor(pixels)], outputs=wanted("logits"))
    assert np.allclose(from_files.as_numpy("logits"), from_pixels.as_numpy("logits"), atol=1e-3)


def test_without_outputs_all_come_and_in_the_announced_shapes(client, live, metadata, pixels):
    result = client.infer(live.model, [tensor(pixels)])
    for output in metadata["outputs"]:
        values = result.as_numpy(output["name"])
        assert list(values.shape) == [3, *output["shape"][1:]]
    assert set(result.get_response()) == {"model_name", "model_version", "outputs"}


def test_the_id_and_the_version_come_back(client, live, metadata, pixels):
    version = metadata["versions"][0]
    answer = client.infer(live.model, [tensor(pixels)], model_version=version, request_id="42").get_response()
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("42", live.model, version)


def test_every_version_can_be_asked_for_the_fast_variants_too(client, live, metadata):
    assert len(metadata["versions"]) == 2
    for version in metadata["versions"]:
        described = client.get_model_metadata(live.model, version)
        height, width = described["inputs"][0]["shape"][1:3]
        zeros = np.zeros((1, height, width, 3), np.uint8)
        answer = client.infer(live.model, [tensor(zeros)], model_version=version).get_response()
        assert answer["model_version"] == version


def test_the_embedding_alone(client, live, pixels):
    result = client.infer(live.model, [tensor(pixels[:1])], outputs=wanted("embedding"))
    reference = live.client.post("/v1/embed", content=FILES[0]).json()["embedding"]
    assert result.as_numpy("embedding")[0] == pytest.approx(reference, abs=1e-3)


def test_classes_on_request(client, live, pixels):
    result = client.infer(live.model, [tensor(pixels)], outputs=wanted("probabilities", class_count=2))
    best = result.as_numpy("probabilities")
    assert best.shape == (3, 2)
    value, _, label = best[0, 0].decode().split(":", 2)
    first = classified(live, FILES[0])[0]
    assert label == first["label"]
    assert float(value) == pytest.approx(first["probability"], abs=1e-4)


def refused(client, live, *args, model=None, **kwargs):
    with pytest.raises(InferenceServerException) as caught:
        client.infer(model or live.model, *args, **kwargs)
    return caught.value.status(), caught.value.message()


def test_the_client_is_told_what_was_wrong(client, live, pixels):
    assert refused(client, live, [tensor(pixels)], model="nobody")[0] == "404"
    status, message = refused(client, live, [tensor(pixels[:, :5])])
    assert status == "400"
    assert "BYTES" in message
    status, message = refused(client, live, [encoded([b"no image"])])
    assert status == "400"
    assert "image" in message
    assert refused(client, live, [tensor(pixels)], outputs=wanted("boxes"))[0] == "400"
    assert refused(client, live, [tensor(pixels)], request_compression_algorithm="gzip")[0] == "415"


def good(**changes):
    return {"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": ["AAAA"], **changes}]}


HOSTILE = {
    "empty": (b"", {}),
    "no json": (b"\xff\xfe{", {}),
    "cut": (b'{"inputs": [', {}),
    "deep": (b"[" * 100_000, {}),
    "null": (b"null", {}),
    "no inputs": (b"{}", {}),
    "inputs of the wrong kind": (b'{"inputs": [1, "a", null]}', {}),
    "huge shape": (json.dumps(good(shape=[10**30, 10**30, 10**30, 3])).encode(), {}),
    "huge batch": (json.dumps(good(shape=[2**62, 96, 96, 3], datatype="UINT8")).encode(), {}),
    "negative shape": (json.dumps(good(shape=[-1])).encode(), {}),
    "empty batch": (json.dumps(good(shape=[0], data=[])).encode(), {}),
    "text numbers": (json.dumps(good(datatype="UINT8", data=["a" * 9999] + [""] * 9999)).encode(), {}),
    "length too long": (json.dumps(good()).encode(), {"inference-header-content-length": "99999999"}),
    "length negative": (json.dumps(good()).encode(), {"inference-header-content-length": "-5"}),
    "length no number": (json.dumps(good()).encode(), {"inference-header-content-length": "ten"}),
    "length inside": (json.dumps(good()).encode(), {"inference-header-content-length": "7"}),
    "binary without length": (json.dumps(good()).encode() + b"\x00\x01", {}),
    "announced too much": (json.dumps(good(parameters={"binary_data_size": 10**12})).encode(), {}),
    "no true flag": (json.dumps({**good(), "parameters": {"binary_data_output": "yes"}}).encode(), {}),
    "endless count": (
        json.dumps({**good(), "outputs": [{"name": "logits", "parameters": {"classification": 10**40}}]}).encode(),
        {},
    ),
    "long element": (
        (lambda head: head + struct.pack("<I", 2**32 - 1) + b"1234")(
            header := json.dumps(good(parameters={"binary_data_size": 8})).encode()
        ),
        {"inference-header-content-length": str(len(header))},
    ),
}


@pytest.mark.parametrize(("body", "headers"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_requests_are_a_400_in_the_protocols_form(live, body, headers):
    reply = live.client.post(f"/v2/models/{live.model}/infer", content=body, headers=headers)
    assert reply.status_code == 400, reply.text
    assert list(reply.json()) == ["error"]
    assert ". " in reply.json()["error"]


@pytest.mark.parametrize("model", ["nobody", "../../etc", "%00", "a" * 5000])
@pytest.mark.parametrize("path", ["", "/ready", "/versions/1", "/versions/1/ready"])
def test_unknown_models_are_a_404_in_the_protocols_form(live, model, path):
    reply = live.client.get(f"/v2/models/{model}{path}")
    assert reply.status_code == 404
