"""Tensors on the wire: JSON numbers, or the protocol's binary extension after the JSON.

Binary data are little-endian and row-major; an element of type BYTES is a 4-byte length and its bytes.
Follows ``extension_binary_data`` and ``extension_classification`` of Triton's protocol documents.
"""

import base64
import binascii
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import ValidationError

from models.arrays import Pixels
from models.errors import BadParameter
from service.routes.v2.schemas import INPUT, MAX_BATCH, InferRequest, RequestInput


@dataclass(frozen=True)
class Parsed:
    """A request with its binary parts cut out; ``binary[i]`` belongs to ``request.inputs[i]``."""

    request: InferRequest
    binary: tuple[memoryview | None, ...]


def parse(body: bytes, header_length: str | None) -> Parsed:
    """Split and check a request body; ``header_length`` is the Inference-Header-Content-Length header."""
    size = len(body) if header_length is None else _header_size(header_length, len(body))
    try:
        request = InferRequest.model_validate_json(body[:size])
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "body"
        raise BadParameter(
            f"The request is no inference request of the protocol: `{place}`: {first['msg']}. Correct it; "
            "with binary tensors the header Inference-Header-Content-Length must give the length of the JSON."
        ) from error
    parts: list[memoryview | None] = []
    rest = memoryview(body)[size:]
    for tensor in request.inputs:
        length = tensor.parameters.get("binary_data_size")
        if length is None:
            parts.append(None)
            continue
        if not isinstance(length, int) or isinstance(length, bool) or not 0 <= length <= len(rest):
            raise BadParameter(
                f"Input {tensor.name!r} announces {_short(length)} bytes but {len(rest)} follow the JSON. "
                "Set `binary_data_size` to what is sent."
            )
        parts.append(rest[:length])
        rest = rest[length:]
    if len(rest):
        raise BadParameter(
            f"{len(rest)} bytes follow the JSON that no input announces. Give each binary input `binary_data_size`."
        )
    return Parsed(request, tuple(parts))


def read_images(parsed: Parsed, input_size: tuple[int, int]) -> Pixels | list[bytes]:
    """The one input: pixels (batch, height, width, 3), or image files that are still to be decoded."""
    if len(parsed.request.inputs) != 1 or parsed.request.inputs[0].name != INPUT:
        names = ", ".join(repr(tensor.name) for tensor in parsed.request.inputs)
        raise BadParameter(f"The inputs are {_short(names)}. Send exactly one, named {INPUT!r}.")
    tensor, raw = parsed.request.inputs[0], parsed.binary[0]
    if raw is None and tensor.data is None:
        raise BadParameter(f"Input {INPUT!r} has no data. Give `data`, or `binary_data_size` and binary data.")
    if tensor.datatype == "BYTES":
        return _files(tensor, raw)
    if tensor.datatype == "UINT8":
        return _pixels(tensor, raw, input_size)
    raise BadParameter(
        f"Input {INPUT!r} has datatype {tensor.datatype!r}. Send UINT8 pixels, or encoded images as BYTES."
    )


def _header_size(text: str, available: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 16 and int(text) <= available):
        raise BadParameter(
            f"Inference-Header-Content-Length is {_short(text)!r} for a body of {available} bytes. "
            "Give the length of the JSON part in bytes."
        )
    return int(text)


def _pixels(tensor: RequestInput, raw: memoryview | None, input_size: tuple[int, int]) -> Pixels:
    height, width = input_size
    if tensor.shape[1:] != [height, width, 3] or not 1 <= tensor.shape[0] <= MAX_BATCH:
        raise BadParameter(
            f"Input {INPUT!r} has the shape {_short(tensor.shape)}. Send [n, {height}, {width}, 3] "
            f"with n from 1 to {MAX_BATCH}, or encoded images of any size as BYTES."
        )
    expected = math.prod(tensor.shape)
    pixels = np.frombuffer(raw, np.uint8) if raw is not None else _numbers(tensor.data)
    if pixels.size != expected:
        raise BadParameter(
            f"Input {INPUT!r} has {pixels.size} values where its shape asks for {expected}. Send as many."
        )
    return pixels.reshape(tensor.shape)


def _numbers(data: Any) -> Pixels:
    try:
        # bytearray takes whole numbers 0 to 255 and nothing else; numpy would take texts and fractions too.
        return np.frombuffer(bytearray(_flat(data)), np.uint8)
    except (TypeError, ValueError) as error:
        raise BadParameter(f"Input {INPUT!r} is no array of whole numbers 0 to 255. Send pixels as UINT8.") from error


def _flat(data: list[Any]) -> list[Any]:
    while data and isinstance(data[0], list):
        data = list(chain.from_iterable(data))
    return data


def _files(tensor: RequestInput, raw: memoryview | None) -> list[bytes]:
    files = _unpacked(raw) if raw is not None else _from_base64(tensor.data)
    if math.prod(tensor.shape) != len(files) or not 1 <= len(files) <= MAX_BATCH:
        raise BadParameter(
            f"Input {INPUT!r} has {len(files)} elements for the shape {_short(tensor.shape)}. "
            f"Send [n] with n from 1 to {MAX_BATCH}, one element for each image."
        )
    return files


def _unpacked(raw: memoryview) -> list[bytes]:
    files: list[bytes] = []
    while len(raw):
        length = int.from_bytes(raw[:4], "little")
        if len(raw) < 4 or length > len(raw) - 4 or len(files) >= MAX_BATCH:
            raise BadParameter(
                f"The BYTES of input {INPUT!r} do not add up, or are more than {MAX_BATCH} elements. "
                "Put a 4-byte little-endian length before each element."
            )
        files.append(bytes(raw[4 : 4 + length]))
        raw = raw[4 + length :]
    return files


def _from_base64(data: Any) -> list[bytes]:
    try:
        return [base64.b64decode(item.encode("ascii"), validate=True) for item in _flat(data)]
    except (AttributeError, TypeError, UnicodeEncodeError, binascii.Error) as error:
        raise BadParameter(
            f"The elements of input {INPUT!r} are no base64. In JSON, send each encoded image in base64."
        ) from error


def _short(value: object) -> str:
    if isinstance(value, int) and abs(value) >= 2**63:
        return "too many"  # Python refuses to print a number of thousands of digits
    text = str(value)
    return text if len(text) <= 80 else text[:77] + "..."


def render(head: dict[str, Any], tensors: Sequence[tuple[str, NDArray[Any], bool]]) -> tuple[bytes, int | None]:
    """Body and, where a tensor is binary, the length of its JSON.

    ``tensors`` are (name, float32 numbers or objects of ``str``, whether binary).
    """
    outputs: list[dict[str, Any]] = []
    binary: list[bytes] = []
    for name, values, as_binary in tensors:
        text = values.dtype.kind == "O"
        output: dict[str, Any] = {
            "name": name,
            "shape": list(values.shape),
            "datatype": "BYTES" if text else "FP32",
        }
        if as_binary:
            binary.append(_packed(values) if text else values.astype("<f4").tobytes())
            output["parameters"] = {"binary_data_size": len(binary[-1])}
        else:
            output["data"] = values.ravel().tolist() if text else np.ascontiguousarray(values).ravel()
        outputs.append(output)
    header = orjson.dumps({**head, "outputs": outputs}, option=orjson.OPT_SERIALIZE_NUMPY)
    return (header + b"".join(binary), len(header)) if binary else (header, None)


def _packed(values: NDArray[Any]) -> bytes:
    encoded = (str(item).encode() for item in values.ravel())
    return b"".join(struct.pack("<I", len(item)) + item for item in encoded)


def classification(values: NDArray[np.floating], labels: Sequence[str], count: int) -> NDArray[np.object_]:
    """(batch, count) texts ``value:index:label`` of the largest values, best first."""
    best = np.argsort(-values, axis=1, kind="stable")[:, :count]
    texts = [[f"{row[i]:f}:{i}:{labels[i]}" for i in order] for row, order in zip(values, best, strict=True)]
    return np.array(texts, dtype=object).reshape(best.shape)
