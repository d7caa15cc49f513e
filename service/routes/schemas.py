"""What the routes answer, for the OpenAPI document; the routes build the same as plain dictionaries."""

from typing import Any

from pydantic import BaseModel, ConfigDict


class Problem(BaseModel):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    request_id: str


class Prediction(BaseModel):
    """A label and its calibrated probability."""

    label: str
    probability: float


class ModelAnswer(BaseModel):
    """What every answer of a model has."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    model: str
    version: str
    variant: str
    request_id: str


class ClassifyAnswer(ModelAnswer):
    """One image's labels, the most probable first."""

    predictions: list[Prediction]
    timing_ms: dict[str, float]
    """Milliseconds by stage: receive, decode, queue, inference, total."""
    variant_reason: str | None = None
    """Why the service chose the variant, where it did."""


class ImageError(BaseModel):
    """What was wrong with one of several images."""

    error: Problem


class ClassifyAnswers(BaseModel):
    """Several images' answers, in the order they were sent."""

    results: list[ClassifyAnswer | ImageError]
    request_id: str


class ModelList(BaseModel):
    """The served models."""

    models: list[dict[str, Any]]
    refused: dict[str, dict[str, str]]
    """Versions that were refused and why, by model."""


PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {
        "description": title,
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for status, title in {
        400: "Not a readable image",
        401: "API key required",
        404: "Unknown model, layer or page",
        408: "Body too slow",
        413: "Body or image too large",
        415: "Unsupported media type",
        422: "Bad parameter",
        503: "Overloaded or shutting down",
        504: "Timed out",
    }.items()
}
