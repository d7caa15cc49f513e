"""The Open Inference Protocol, version 2: what Triton, KServe, MLServer and OpenVINO Model Server speak.

A client written for those reads the metadata, asks whether a model is ready and sends tensors, in JSON
or with the binary extension. The one input ``image`` takes UINT8 pixels (batch, height, width, 3) at
the model's own size, or image files of any size as BYTES, which the service decodes as it does everywhere.
"""

import asyncio
from collections.abc import Sequence
from importlib.metadata import version as distribution_version
from typing import Annotated, Any, Final

import numpy as np
from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import JSONResponse
from numpy.typing import NDArray

from models.arrays import Floats, Pixels, softmax
from models.errors import BadImage, BadParameter, UnknownModel, UnsupportedMedia
from service.asgi.context import deadline_of
from service.asgi.problem import PROTOCOL_PATH
from service.inference.pipeline import Pipeline
from service.inference.served_model import ServedModel
from service.routes.dependencies import find_model, pipeline_of
from service.routes.openapi import inlined_schema
from service.routes.v2.codec import classification, parse, read_images, render
from service.routes.v2.schemas import (
    INPUT,
    InferAnswer,
    InferRequest,
    Live,
    ModelMetadata,
    ModelReady,
    ProtocolError,
    Ready,
    RequestOutput,
    ServerMetadata,
    TensorMetadata,
)

OUTPUTS: Final = ("logits", "probabilities", "labels", "embedding")
_PARSE_INLINE: Final = 65_536
"""Bodies up to this many bytes are parsed where they are; longer ones in a thread."""


router = APIRouter(
    prefix=PROTOCOL_PATH,
    tags=["open inference protocol"],
    responses={status: {"model": ProtocolError} for status in (400, 401, 404, 408, 413, 415, 503, 504)},
)


@router.get("", summary="What this server is")
async def server_metadata() -> ServerMetadata:
    """Name, version and the extensions that are understood."""
    return ServerMetadata(
        name="catseye",
        version=distribution_version("catseye"),
        extensions=["binary_tensor_data", "classification"],
    )


@router.get("/health/live", summary="Whether the server answers")
async def live() -> Live:
    """Always true where there is an answer at all."""
    return Live(live=True)


@router.get("/health/ready", summary="Whether every model takes work", response_model=Ready)
async def ready(request: Request) -> Response:
    """200 when ready, 503 while loading or shutting down."""
    is_ready = pipeline_of(request).ready() and not request.app.state.drain.draining()
    return JSONResponse({"ready": is_ready}, 200 if is_ready else 503)


@router.get("/models/{model}", summary="What a model takes and gives")
@router.get("/models/{model}/versions/{version}", summary="What a version of a model takes and gives")
async def model_metadata(request: Request, model: str, version: str | None = None) -> ModelMetadata:
    """Inputs and outputs with types and shapes; -1 is the batch."""
    served = _find(request, model, version)
    height, width = served.card.input_size
    classes = len(served.card.labels)
    shapes = {"logits": [-1, classes], "probabilities": [-1, classes], "labels": [-1]}
    shapes["embedding"] = [-1, served.card.head.embedding_size]
    return ModelMetadata(
        name=served.name,
        versions=list(pipeline_of(request).versions(model)),
        platform="catseye",
        inputs=[TensorMetadata(name=INPUT, datatype="UINT8", shape=[-1, height, width, 3])],
        outputs=[
            TensorMetadata(name=name, datatype="BYTES" if name == "labels" else "FP32", shape=shapes[name])
            for name in OUTPUTS
        ],
    )


@router.get("/models/{model}/ready", summary="Whether a model takes work")
@router.get("/models/{model}/versions/{version}/ready", summary="Whether a version of a model takes work")
async def model_ready(request: Request, model: str, version: str | None = None) -> ModelReady:
    """200 when it does; 404 where it is not served."""
    return ModelReady(name=_find(request, model, version).name, ready=True)


_BODY: Final = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": inlined_schema(InferRequest)},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
HeaderLength = Annotated[str | None, Header(alias="Inference-Header-Content-Length")]


@router.post("/models/{model}/infer", summary="Run a model", response_model=InferAnswer, openapi_extra=_BODY)
@router.post(
    "/models/{model}/versions/{version}/infer",
    summary="Run a version of a model",
    response_model=InferAnswer,
    openapi_extra=_BODY,
)
async def infer(
    request: Request, model: str, version: str | None = None, header_length: HeaderLength = None
) -> Response:
    """Tensors or encoded images in; logits, probabilities, labels and embedding out, or those asked for."""
    pipeline, deadline = pipeline_of(request), deadline_of(request)
    served = _find(request, model, version)
    _check_encoding(request)
    body = await request.body()

    def read() -> tuple[InferRequest, Pixels | list[bytes]]:
        parsed = parse(body, header_length)
        return parsed.request, read_images(parsed, served.card.input_size)

    if len(body) <= _PARSE_INLINE:
        asked, images = read()
    else:
        asked, images = await pipeline.render(read, deadline=deadline, pixels=len(body))
    wanted = _wanted(asked)
    needed = ("logits", "embedding") if any(name == "embedding" for name, *_ in wanted) else ("logits",)
    if isinstance(images, list):
        results = await _run_files(pipeline, served, images, needed, deadline)
    else:
        results = await pipeline.infer(served, images, needed, deadline=deadline)
    results["probabilities"] = softmax(results["logits"], served.card.temperature).astype(np.float32)
    head = {"model_name": served.name, "model_version": served.version}
    if asked.id is not None:
        head["id"] = asked.id
    answer, json_length = render(head, [_output(output, results, served.card.labels) for output in wanted])
    if json_length is None:
        return Response(answer, media_type="application/json")
    headers = {"Inference-Header-Content-Length": str(json_length)}
    return Response(answer, media_type="application/octet-stream", headers=headers)


def _find(request: Request, model: str, version: str | None) -> ServedModel:
    """The model; a version may also be one of the fast variant, which the protocol cannot name otherwise."""
    try:
        return find_model(request, model, version, None)
    except UnknownModel:
        if version is None or version not in pipeline_of(request).versions(model):
            raise
        return find_model(request, model, version, "fast")


def _check_encoding(request: Request) -> None:
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise UnsupportedMedia("The body is compressed. Send it as it is; images in BYTES are small already.")


def _wanted(asked: InferRequest) -> list[tuple[str, bool, int]]:
    """(name, whether binary, how many classes or 0 for numbers) of each output that is wanted."""
    all_binary = _flag(asked.parameters, "binary_data_output", False)
    outputs = asked.outputs or [RequestOutput(name=name) for name in OUTPUTS]
    return [_one_wanted(output, all_binary) for output in outputs]


def _one_wanted(output: RequestOutput, all_binary: bool) -> tuple[str, bool, int]:
    if output.name not in OUTPUTS:
        raise BadParameter(f"There is no output {output.name[:80]!r}. Ask for {', '.join(OUTPUTS)}.")
    count = output.parameters.get("classification", 0)
    if type(count) is not int or not 0 <= count < 2**31:
        raise BadParameter("`classification` is no count of classes. Give a whole number of at least 1.")
    if count and output.name not in ("logits", "probabilities"):
        raise BadParameter(f"{output.name} cannot be given by class. Ask it of logits or probabilities.")
    return output.name, _flag(output.parameters, "binary_data", all_binary), count


def _flag(parameters: dict[str, Any], key: str, default: bool) -> bool:
    value = parameters.get(key, default)
    if not isinstance(value, bool):
        raise BadParameter(f"`{key}` is neither true nor false. Give one of them.")
    return value


async def _run_files(
    pipeline: Pipeline, served: ServedModel, files: list[bytes], outputs: tuple[str, ...], deadline: float
) -> dict[str, Floats]:
    """Every file decoded and run like an image of the other routes, the results as one batch."""
    tasks = (pipeline.answer(served, data, outputs, deadline=deadline) for data in files)
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    for place, answer in enumerate(answers):
        if isinstance(answer, BadImage):
            raise BadImage(f"Image {place} of {len(files)}: {answer.detail}") from answer
        if isinstance(answer, BaseException):
            raise answer
    done = [answer for answer in answers if not isinstance(answer, BaseException)]
    return {name: np.stack([answer.outputs[name] for answer in done]) for name in outputs}


def _output(
    wanted: tuple[str, bool, int], results: dict[str, Floats], labels: Sequence[str]
) -> tuple[str, NDArray[Any], bool]:
    name, as_binary, count = wanted
    if name == "labels":
        best = results["logits"].argmax(axis=1)
        return name, np.array([labels[index] for index in best], dtype=object), as_binary
    values = results[name]
    return name, classification(values, labels, count) if count else values, as_binary
