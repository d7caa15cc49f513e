"""``POST /v1/classify``: labels of one or several images."""

import asyncio
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Final
from urllib.parse import parse_qsl

import orjson
from fastapi import APIRouter, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from models.errors import CatseyeError
from service.asgi.context import state_of
from service.asgi.problem import problem
from service.inference.pipeline import Answer
from service.inference.served_model import ServedModel
from service.routes.dependencies import IMAGE_BODY, ModelQuery, answer_head, pipeline_of
from service.routes.schemas import ClassifyAnswer, ClassifyAnswers
from service.routes.uploads import read_images

_MAX_CACHED: Final = 256
"""Length of the longest query string whose parameters are kept."""

router = APIRouter()


class ClassifyQuery(ModelQuery):
    """How to classify."""

    top_k: Annotated[int, Query(ge=1, le=10_000)] = 5
    """So many labels, the most probable first."""
    latency_budget_ms: Annotated[float | None, Query(gt=0, le=600_000, allow_inf_nan=False)] = None
    """Take the most accurate variant whose measured p95 fits."""


def read_query(query: bytes) -> ClassifyQuery:
    """The parameters in a query string, parsed once for each; ``RequestValidationError`` as FastAPI itself raises it.

    FastAPI walks through a route's parameters anew at every request, which costs more than all else that the
    service does around a network. A client's query string is nearly always the one it sent before.
    """
    return _cached(query) if len(query) <= _MAX_CACHED else _parsed(query)


def _parsed(query: bytes) -> ClassifyQuery:
    try:
        return ClassifyQuery.model_validate(dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True)))
    except ValidationError as error:
        found = [{**each, "loc": ("query", *each["loc"])} for each in error.errors()]
        raise RequestValidationError(found) from error


_cached = lru_cache(maxsize=512)(_parsed)


def _parameters() -> list[dict[str, Any]]:
    """The parameters as OpenAPI describes them."""
    return [
        {
            "name": name,
            "in": "query",
            "required": False,
            "description": member.get("description", ""),
            "schema": {key: value for key, value in member.items() if key != "description"},
        }
        for name, member in ClassifyQuery.model_json_schema()["properties"].items()
    ]


@router.post(
    "/v1/classify",
    tags=["classify"],
    summary="Labels of one or several images",
    response_model=ClassifyAnswer | ClassifyAnswers,
    openapi_extra={**IMAGE_BODY, "parameters": _parameters()},
)
async def post_classify(request: Request) -> Response:
    """Probabilities are calibrated; with several images each gets a result or an error of its own."""
    began = time.perf_counter()
    query = read_query(request.scope["query_string"])
    pipeline, state = pipeline_of(request), state_of(request)
    request_id, deadline = state["request_id"], state["deadline"]
    choice = (query.model, query.version, query.variant, query.latency_budget_ms, request_id)
    # Before the body is read: to receive a body that cannot be answered costs time that the networks need.
    if (refusal := pipeline.refusal(*choice)) is not None:
        full, error = refusal
        state["model"] = full.metric_labels
        raise error
    files = await read_images(request, pipeline.max_images)
    received = time.perf_counter() - began
    served, reason = pipeline.choose(*choice)
    state["model"] = served.metric_labels
    served.observe({"receive": received})
    writer = _Writer(served, reason, query.top_k, request_id, began, received)
    if len(files) == 1:
        body = writer.result(await pipeline.answer(served, files[0], deadline=deadline))
        state["timing_ms"] = body["timing_ms"]
    else:
        answers = (pipeline.answer(served, file, deadline=deadline) for file in files)
        results = await asyncio.gather(*answers, return_exceptions=True)
        body = {"results": [writer.result_or_error(each) for each in results], "request_id": request_id}
    answered = time.perf_counter()
    response = Response(orjson.dumps(body), media_type="application/json")
    served.observe({"respond": time.perf_counter() - answered})
    return response


@dataclass(frozen=True)
class _Writer:
    """Writes the results of one request."""

    served: ServedModel
    reason: str | None
    top_k: int
    request_id: str
    began: float
    received: float

    def result(self, answer: Answer) -> dict[str, Any]:
        """One image's labels and timings."""
        seconds = {"receive": self.received, **answer.seconds, "total": time.perf_counter() - self.began}
        body = answer_head(self.served, self.request_id)
        body["predictions"] = self.served.top(answer.probabilities, self.top_k)
        body["timing_ms"] = {stage: round(value * 1e3, 3) for stage, value in seconds.items()}
        if self.reason is not None:
            body["variant_reason"] = self.reason
        return body

    def result_or_error(self, answer: Answer | BaseException) -> dict[str, Any]:
        """One of several images' result, or what was wrong with it."""
        if isinstance(answer, CatseyeError):
            return {"error": problem(answer, self.request_id)}
        if isinstance(answer, BaseException):
            raise answer
        return self.result(answer)
