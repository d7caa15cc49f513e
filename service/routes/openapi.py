"""What FastAPI does not know of the OpenAPI document: the form of errors, and an example of every answer.

The examples are those of a service with the solar cells, cut small.
"""

from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI
from pydantic import BaseModel

from models.errors import (
    BadImage,
    BadParameter,
    Overloaded,
    SlowBody,
    TimedOut,
    TooManyPixels,
    Unauthorized,
    UnknownModel,
    UnsupportedMedia,
)
from service.asgi.problem import MEDIA_TYPE, PROTOCOL_PATH, problem
from service.routes.schemas import Problem

_VERSION: Final = "20261124t191113-a9c869f1a"
_ID: Final = "2f7131c841d27eb5"
_MODEL: Final = {"model": "solar-cells", "version": _VERSION, "variant": "accurate"}
_PREDICTIONS: Final = [
    {"label": "defective", "probability": 0.7764995694160461},
    {"label": "functional", "probability": 0.22350040078163147},
]
_TAP: Final = {"index": 6, "name": "out_relu", "shape": [7, 7, 1280], "stride": 32}
_DESCRIBED: Final = {
    "name": "solar-cells",
    "default": True,
    "labels": ["defective", "functional"],
    "taps": [_TAP],
    "variants": {
        "accurate": {
            "version": _VERSION,
            "variant": "accurate",
            "tag": f"solar-cells:{_VERSION}",
            "backbone": "mobilenet_v2",
            "precision": "float32",
            "runtime": "openvino",
            "input_size": [224, 224],
            "latency_ms": {"p50": 39.14, "p95": 71.5},
        }
    },
}
_TENSORS: Final = [
    {"name": "probabilities", "datatype": "FP32", "shape": [1, 2], "data": [0.77649957, 0.2235004]},
    {"name": "labels", "datatype": "BYTES", "shape": [1], "data": ["defective"]},
]

ANSWERS: Final[dict[tuple[str, str], Any]] = {
    ("post", "/v1/classify"): {
        **_MODEL,
        "predictions": _PREDICTIONS,
        "request_id": _ID,
        "timing_ms": {"receive": 0.142, "decode": 2.295, "queue": 0.016, "inference": 4.398, "total": 7.096},
    },
    ("post", "/v1/feature-maps"): {
        **_MODEL,
        "predictions": _PREDICTIONS,
        "request_id": _ID,
        "layers": [
            {
                "index": 6,
                "name": "out_relu",
                "stride": 32,
                "shape": [2, 2, 1],
                "channels": [816],
                "values": [[[6.0], [4.596548]], [[3.951335], [1.961133]]],
            }
        ],
    },
    ("post", "/v1/explain"): {
        **_MODEL,
        "label": "defective",
        "probability": 0.7764995944700209,
        "logit": 0.4698829650878906,
        "bias": 18.537721633911133,
        "mean": -18.067838668823242,
        "shape": [2, 2],
        "map": [[-13.975109, -20.160568], [-18.067844, -20.067834]],
        "request_id": _ID,
    },
    ("post", "/v1/embed"): {
        **_MODEL,
        "size": 4,
        "normalized": True,
        "embedding": [0.5, 0.5, 0.5, 0.5],
        "request_id": _ID,
    },
    ("get", "/v1/models"): {"models": [_DESCRIBED], "refused": {}},
    ("get", "/v1/models/{name}"): _DESCRIBED,
    ("get", "/v1/models/{name}/history"): {
        **_MODEL,
        "phases": [
            {
                "phase": "head",
                "best_epoch": 2,
                "history": [
                    {"epoch": 1.0, "loss": 0.52, "val_loss": 0.45},
                    {"epoch": 2.0, "loss": 0.44, "val_loss": 0.42},
                ],
            }
        ],
        "request_id": _ID,
    },
    ("get", "/v2"): {
        "name": "catseye",
        "version": "0.1.0",
        "extensions": ["binary_tensor_data", "classification"],
    },
    ("get", "/v2/models/{model}"): {
        "name": "solar-cells",
        "versions": [_VERSION],
        "platform": "catseye",
        "inputs": [{"name": "image", "datatype": "UINT8", "shape": [-1, 224, 224, 3]}],
        "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]}],
    },
    ("get", "/v2/models/{model}/ready"): {"name": "solar-cells", "ready": True},
    ("post", "/v2/models/{model}/infer"): {"model_name": "solar-cells", "model_version": _VERSION, "outputs": _TENSORS},
}
"""The JSON answer to a request that succeeds, by method and path."""

_PICTURE: Final = (
    "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAAFklEQVR42mPQ0DhxQkOD8YSGBgMDAwAdJQNKLgOhGQAAAABJRU5ErkJggg=="
)
INFERENCE: Final[dict[str, Any]] = {
    "inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": [_PICTURE]}],
    "outputs": [{"name": "probabilities"}, {"name": "labels"}],
}
"""A request of the inference protocol: an image file of four pixels, whose answer any model can give."""

_ERRORS: Final = (
    BadImage("The data are text, not an image. Send JPEG, PNG, WebP, GIF, BMP or TIFF."),
    Unauthorized("The API key is missing or wrong. Send it as `X-API-Key: <key>`."),
    UnknownModel("Model 'cats' is not served. Served are: solar-cells."),
    SlowBody("The body did not arrive within the time limit. Send a smaller image, or send it faster."),
    TooManyPixels("The image is 30000x30000 = 900,000,000 pixels and at most 50,000,000 are read. Send it smaller."),
    UnsupportedMedia("The content type 'text/csv' is not read here. Send an image."),
    BadParameter("`top_k`: Input should be greater than or equal to 1. Correct it; /docs lists what each route takes."),
    Overloaded("256 images wait for model solar-cells, which is the limit. Try again later."),
    TimedOut("The answer was not ready within the time limit. Try again later, or send less at once."),
)
PROBLEMS: Final = {str(error.status): error for error in _ERRORS}
"""An error for each status."""


def extend_document(app: FastAPI) -> None:
    """Put the form of errors and the examples into the document."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = plain()
            document["components"]["schemas"]["Problem"] = Problem.model_json_schema()
            for path, operations in document["paths"].items():
                for method, operation in operations.items():
                    if path.startswith(PROTOCOL_PATH):
                        operation["responses"].pop("422", None)
                    _add_examples(method, path, operation["responses"])
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend the document


def inlined_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The model's schema without references, for a body that its route reads by itself.

    Models that contain themselves have no such schema.
    """
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})

    def inlined(node: Any) -> Any:
        if isinstance(node, Mapping):
            if "$ref" in node:
                return inlined(definitions[node["$ref"].rsplit("/", 1)[1]])
            # A discriminator only repeats the alternatives, by reference.
            return {key: inlined(value) for key, value in node.items() if key != "discriminator"}
        return [inlined(item) for item in node] if isinstance(node, list) else node

    whole: dict[str, Any] = inlined(schema)
    return whole


def _add_examples(method: str, path: str, responses: dict[str, Any]) -> None:
    """An example for the answer of an operation, where it has one, and for each of its errors."""
    answer = ANSWERS.get((method, path.replace("/versions/{version}", "")))
    for status, response in responses.items():
        for media, content in response.get("content", {}).items():
            if status == "200" and media == "application/json" and answer is not None:
                content["example"] = answer
            elif status in PROBLEMS:
                error = PROBLEMS[status]
                content["example"] = problem(error, _ID) if media == MEDIA_TYPE else {"error": error.detail}
