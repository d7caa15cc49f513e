import base64
import json
import struct

import numpy as np
import pytest
import tritonclient.http as triton

from models.errors import BadParameter
from service.routes.v2.codec import classification, parse, read_images, render
from service.routes.v2.schemas import MAX_BATCH

SIZE = (2, 3)
PIXELS = np.arange(2 * 2 * 3 * 3, dtype=np.uint8).reshape(2, 2, 3, 3)


def body(data=None, *, binary=b"", datatype="UINT8", shape=(2, 2, 3, 3), name="image", **tensor):
    image = {"name": name, "shape": list(shape), "datatype": datatype, **tensor}
    if data is not None:
        image["data"] = data
    header = json.dumps({"inputs": [image]}).encode()
    return header + binary, str(len(header)) if binary else None


def read(*args, **kwargs):
    return read_images(parse(*body(*args, **kwargs)), SIZE)


def refusal(*args, **kwargs):
    with pytest.raises(BadParameter) as caught:
        read(*args, **kwargs)
    return caught.value.detail


@pytest.mark.parametrize("data", [PIXELS.tolist(), PIXELS.ravel().tolist()], ids=["nested", "flat"])
def test_pixels_come_as_json_numbers(data):
    assert (read(data) == PIXELS).all()


def test_pixels_come_as_binary():
    raw = PIXELS.tobytes()
    assert (read(binary=raw, parameters={"binary_data_size": len(raw)}) == PIXELS).all()


def test_files_come_in_base64_or_with_their_lengths():
    files = [b"first", b"", b"\x00\xff"]
    texts = [base64.b64encode(item).decode() for item in files]
    assert read(texts, datatype="BYTES", shape=[3]) == files
    assert read([[text] for text in texts], datatype="BYTES", shape=[3, 1]) == files
    raw = b"".join(struct.pack("<I", len(item)) + item for item in files)
    assert read(binary=raw, datatype="BYTES", shape=[3], parameters={"binary_data_size": len(raw)}) == files


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"name": "input_1"}, "'image'"),
        ({"datatype": "FP32"}, "UINT8"),
        ({"shape": [2, 2, 3]}, r"[n, 2, 3, 3]"),
        ({"shape": [2, 3, 2, 3]}, r"[n, 2, 3, 3]"),
        ({"shape": [0, 2, 3, 3]}, "from 1"),
        ({"shape": [MAX_BATCH + 1, 2, 3, 3]}, "from 1"),
        ({"shape": [2**62, 2, 3, 3]}, "from 1"),
        ({"shape": [2**63, 2, 3, 3]}, "shape"),
        ({"shape": [-1, 2, 3, 3]}, "shape"),
        ({"shape": [1, 2, 3, 3]}, "36 values"),
        ({"data": []}, "0 values"),
        ({"data": [256] * 36}, "0 to 255"),
        ({"data": [-1] * 36}, "0 to 255"),
        ({"data": [0.5] * 36}, "0 to 255"),
        ({"data": ["1"] * 36}, "0 to 255"),
        ({"data": ["a" * 100_000] + [""] * 35}, "0 to 255"),
        ({"data": [[1], 2]}, "0 to 255"),
        ({"data": [{"a": 1}]}, "0 to 255"),
        ({"data": [10**30]}, "0 to 255"),
        ({"data": "text"}, "data"),
        ({"data": None}, "no data"),
        ({"data": ["!"], "datatype": "BYTES", "shape": [1]}, "base64"),
        ({"data": [7], "datatype": "BYTES", "shape": [1]}, "base64"),
        ({"data": ["강"], "datatype": "BYTES", "shape": [1]}, "base64"),
        ({"data": ["AAAA"], "datatype": "BYTES", "shape": [2]}, "1 elements"),
        ({"data": [], "datatype": "BYTES", "shape": [0]}, "from 1"),
        ({"parameters": {"binary_data_size": 1}}, "announces"),
        ({"parameters": {"binary_data_size": -1}}, "announces"),
        ({"parameters": {"binary_data_size": 10**30}}, "too many"),
        ({"parameters": {"binary_data_size": True}}, "announces"),
        ({"parameters": {"binary_data_size": [1]}}, "announces"),
        ({"binary": b"1"}, "no input announces"),
        ({"binary": b"\x01\x00", "datatype": "BYTES", "parameters": {"binary_data_size": 2}}, "add up"),
        ({"binary": b"\xff" * 8, "datatype": "BYTES", "parameters": {"binary_data_size": 8}}, "add up"),
        ({"binary": bytes(4 * 70), "datatype": "BYTES", "parameters": {"binary_data_size": 280}}, "add up"),
    ],
    ids=str,
)
def test_tensors_that_do_not_fit_are_refused_in_words(change, word):
    detail = refusal(**{"data": PIXELS.tolist(), **change})
    assert word in detail
    assert len(detail) < 350


@pytest.mark.parametrize("length", ["", "-1", "abc", "1e3", "²", "9" * 5000, "99999", " 5"])
def test_a_wrong_header_length_is_refused(length):
    with pytest.raises(BadParameter, match="Inference-Header-Content-Length"):
        parse(body(PIXELS.tolist())[0], length)


@pytest.mark.parametrize(
    "whole",
    [
        b"", b"{}", b"[]", b"null", b"\xff", b'{"inputs": []}', b'{"inputs": [7]}', b"{" * 9999,
        b'{"id": 7, "inputs": [{"name": "image", "shape": [1], "datatype": "BYTES"}]}',
        b'{"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": ["\\ud800"]}]}',
        b'{"inputs": [{"name": "image", "shape": [1' + b"0" * 5000 + b'], "datatype": "BYTES"}]}',
        b'{"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", '
        b'"parameters": {"binary_data_size": 1'
        + b"0" * 5000 + b"}}]}",
        b'{"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": ' + b"[" * 9999 + b"]}]}",
    ],
)  # fmt: skip
def test_bodies_that_are_no_request_are_refused(whole):
    with pytest.raises(BadParameter):
        read_images(parse(whole, None), SIZE)


def test_two_inputs_are_refused():
    twice = json.dumps({"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": []}] * 2})
    with pytest.raises(BadParameter, match="exactly one"):
        read_images(parse(twice.encode(), None), SIZE)


def test_what_a_client_of_others_sends_is_read():
    image = triton.InferInput("image", [2, 2, 3, 3], "UINT8").set_data_from_numpy(PIXELS)
    whole, length = triton.InferenceServerClient.generate_request_body([image], request_id="7")
    parsed = parse(whole, str(length))
    assert parsed.request.id == "7"
    assert parsed.request.parameters == {"binary_data_output": True}
    assert (read_images(parsed, SIZE) == PIXELS).all()


@pytest.mark.parametrize("binary", [True, False])
def test_what_is_rendered_is_read_by_a_client_of_others(binary):
    numbers = np.array([[1.5, -2], [3, 4]], np.float32)
    labels = np.array(["Katze", "강아지"], dtype=object)
    whole, length = render({"model_name": "m", "id": "7"}, [("logits", numbers, binary), ("labels", labels, binary)])
    assert (length is not None) == binary
    result = triton.InferenceServerClient.parse_response_body(whole, header_length=length)
    assert (result.as_numpy("logits") == numbers).all()
    read_labels = [item.decode() if binary else item for item in result.as_numpy("labels").tolist()]
    assert read_labels == ["Katze", "강아지"]
    assert result.get_response()["id"] == "7"


def test_binary_and_json_outputs_mix_in_order():
    number = np.ones(1, np.float32)
    whole, length = render({}, [("a", number, True), ("b", number * 2, False), ("c", number * 3, True)])
    assert whole[length:] == struct.pack("<2f", 1, 3)
    assert json.loads(whole[:length])["outputs"][1] == {
        "name": "b",
        "shape": [1],
        "datatype": "FP32",
        "data": [2],
    }


def test_classification_gives_the_best_first():
    texts = classification(np.array([[0.1, 0.7, 0.2]]), ["a", "b", "c"], 2)
    assert texts.tolist() == [["0.700000:1:b", "0.200000:2:c"]]
    assert classification(np.array([[0.1]]), ["a"], 9).shape == (1, 1)
