"""The public routes that classify and describe; those that look inside have rooms of their own."""

import asyncio
import time
from typing import Annotated, Any, Final, Literal

import anyio.to_thread
import orjson
from fastapi import APIRouter, Query, Request, Response

from models.errors import CatseyeError
from models.image.decode import thumbnail
from service.asgi.middleware import scope_note
from service.asgi.problem import problem, request_id_of
from service.inference.pipeline import Answer, Pipeline
from service.inference.registry import describe
from service.inference.served_model import ServedModel
from service.metrics import CONTENT_TYPE_LATEST, exposition
from service.rendering.feature_maps import (
    CHANNELS_PATTERN,
    MEDIA_TYPES,
    Channels,
    MapFormat,
    check_size,
    find_taps,
    parse_channels,
    render,
)
from service.rendering.tiles import tiles
from service.routes.dependencies import IMAGE_BODY, ModelQuery, deadline_of, limits_of, one_image, pixels_of
from service.routes.query import describe_query, read_query
from service.routes.schemas import ClassifyAnswer, ClassifyAnswers, ModelList
from service.routes.uploads import read_images

PICTURE_SIDE: Final = 320

router = APIRouter()


class ClassifyQuery(ModelQuery):
    """How to classify."""

    top_k: Annotated[int, Query(ge=1, le=10_000)] = 5
    """So many labels, the most probable first."""
    latency_budget_ms: Annotated[float | None, Query(gt=0, le=600_000, allow_inf_nan=False)] = None
    """Take the most accurate variant whose measured p95 fits."""


def pipeline_of(request: Request) -> Pipeline:
    """The service's pipeline, put on the application when it starts."""
    gateway: Pipeline = request.app.state.gateway
    return gateway


@router.post(
    "/v1/classify",
    tags=["classify"],
    summary="Labels of one or several images",
    response_model=ClassifyAnswer | ClassifyAnswers,
    openapi_extra={**IMAGE_BODY, "parameters": describe_query(ClassifyQuery)},
)
async def post_classify(request: Request) -> Response:
    """Probabilities are calibrated; with several images each gets a result or an error of its own."""
    began = time.perf_counter()
    query = read_query(ClassifyQuery, request.scope["query_string"])
    pipeline = pipeline_of(request)
    files = await read_images(request, pipeline.max_images)
    received = time.perf_counter() - began
    served, reason = pipeline.choose(
        query.model, query.version, query.variant, query.latency_budget_ms, request_id_of(request)
    )
    note = scope_note(request)
    note["model"] = served.metric_labels
    served.stages["receive"].observe(received)
    if len(files) == 1:
        answer = await pipeline.answer(served, files[0], deadline=deadline_of(request))
        body = _classified(request, served, reason, answer, query.top_k, received, began)
        note["timing_ms"] = body["timing_ms"]
    else:
        deadline = deadline_of(request)
        results = await asyncio.gather(
            *(pipeline.answer(served, file, deadline=deadline) for file in files), return_exceptions=True
        )
        body = {
            "results": [
                _one_of_several(request, served, reason, result, query.top_k, received, began) for result in results
            ],
            "request_id": request_id_of(request),
        }
    rendering = time.perf_counter()
    response = Response(orjson.dumps(body), media_type="application/json")
    served.stages["respond"].observe(time.perf_counter() - rendering)
    return response


@router.post(
    "/v1/feature-maps",
    tags=["look inside"],
    summary="What the layers of the network see in an image",
    openapi_extra=IMAGE_BODY,
    responses={
        200: {
            "description": "The maps of the layers.",
            "content": {
                "application/json": {"schema": {"type": "object"}},
                "application/x-npz": {"schema": {"type": "string", "format": "binary"}},
                "image/png": {"schema": {"type": "string", "format": "binary"}},
            },
        }
    },
)
async def post_feature_maps(
    request: Request,
    chosen: Annotated[ModelQuery, Query()],
    layer: Annotated[list[str] | None, Query(description="Name or index of a layer; may be repeated.")] = None,
    channels: Annotated[
        str | None,
        Query(description="`0,3,8-15`, `strongest:8`, or `all`.", json_schema_extra={"pattern": CHANNELS_PATTERN}),
    ] = None,
    format: Annotated[MapFormat | Literal["tiles"], Query()] = "json",
    top_k: Annotated[int, Query(ge=1, le=10_000)] = 5,
) -> Response:
    """Shape, stride and values of the layers' feature maps, a labelled picture of them, or one of each channel."""
    pipeline = pipeline_of(request)
    data = one_image(await read_images(request, pipeline.max_images))
    served = pipeline.find(chosen.model, chosen.version, chosen.variant, request_id_of(request))
    scope_note(request)["model"] = served.metric_labels
    taps, wanted = find_taps(served.card, layer or []), parse_channels(channels)
    check_size(taps, wanted, "png" if format == "tiles" else format)
    deadline = deadline_of(request)
    answer = await pipeline.answer(served, data, ("logits", *(f"tap_{tap.index}" for tap in taps)), deadline=deadline)
    head = _head(request, served, answer, top_k)
    maps = [(tap, answer.outputs[f"tap_{tap.index}"]) for tap in taps]

    def draw() -> bytes:
        if format == "tiles":
            numbers = [None if wanted == Channels() else wanted.of(values, tap) for tap, values in maps]
            return tiles(head, maps, numbers, served.card, served.head()[0])
        picture = thumbnail(data, PICTURE_SIDE, limits) if format == "png" else None
        return render(head, maps, wanted, format, picture)

    limits = limits_of(request)
    body = await pipeline.render(
        draw,
        deadline=deadline,
        pixels=pixels_of(data, limits) if format == "png" else 0,
        held=sum(values.nbytes for _, values in maps),
    )
    return Response(body, media_type=MEDIA_TYPES["json" if format == "tiles" else format])


@router.get("/v1/models", tags=["models"], summary="The served models", response_model=ModelList)
async def get_models(request: Request) -> Response:
    """Cards, variants, taps and measured latency of every served model."""
    registry = pipeline_of(request).registry
    body = {
        "models": [describe(registry, name) for name in registry.names()],
        "refused": registry.refused(),
    }
    return Response(orjson.dumps(body), media_type="application/json")


@router.get("/v1/models/{name}", tags=["models"], summary="One served model", response_model=dict[str, Any])
async def get_model(request: Request, name: str) -> Response:
    """Card, variants, taps and measured latency of one model."""
    return Response(orjson.dumps(describe(pipeline_of(request).registry, name)), media_type="application/json")


@router.get("/metrics", tags=["operations"], summary="Prometheus metrics", include_in_schema=False)
async def get_metrics() -> Response:
    """The text that Prometheus reads, over all workers."""
    return Response(await anyio.to_thread.run_sync(exposition), media_type=CONTENT_TYPE_LATEST)


def _head(request: Request, served: ServedModel, answer: Answer, top_k: int) -> dict[str, Any]:
    order = answer.probabilities.argsort()[::-1][:top_k]
    labels, probabilities = served.card.labels, answer.probabilities
    return {
        "model": served.name,
        "version": served.version,
        "variant": served.variant,
        "predictions": [{"label": labels[index], "probability": float(probabilities[index])} for index in order],
        "request_id": request_id_of(request),
    }


def _classified(
    request: Request,
    served: ServedModel,
    reason: str | None,
    answer: Answer,
    top_k: int,
    received: float,
    began: float,
) -> dict[str, Any]:
    seconds = {"receive": received, **answer.seconds, "total": time.perf_counter() - began}
    body = _head(request, served, answer, top_k)
    body["timing_ms"] = {stage: round(value * 1e3, 3) for stage, value in seconds.items()}
    if reason is not None:
        body["variant_reason"] = reason
    return body


def _one_of_several(
    request: Request,
    served: ServedModel,
    reason: str | None,
    result: Answer | BaseException,
    top_k: int,
    received: float,
    began: float,
) -> dict[str, Any]:
    if isinstance(result, CatseyeError):
        return {"error": problem(result, request_id_of(request))}
    if isinstance(result, BaseException):
        raise result
    return _classified(request, served, reason, result, top_k, received, began)
