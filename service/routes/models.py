"""``GET /v1/models``: the served models, their cards, and how they were trained."""

from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Query, Request, Response

from models.card import VariantName
from models.store.history import Phase
from service.asgi.context import request_id_of
from service.inference.registry import describe
from service.routes.dependencies import ArrayResponse, answer_head, find_model, pipeline_of
from service.routes.schemas import ModelAnswer, ModelList

router = APIRouter(tags=["models"])


class HistoryAnswer(ModelAnswer):
    """The phases of the training run, each with the figures of its epochs; none where they were not kept."""

    phases: tuple[Phase, ...]


@router.get("/v1/models", summary="The served models", response_model=ModelList)
async def get_models(request: Request) -> Response:
    """Cards, variants, taps and measured latency of every served model."""
    registry = pipeline_of(request).registry
    models = [describe(registry, name) for name in registry.names()]
    return ArrayResponse({"models": models, "refused": registry.refused()})


@router.get("/v1/models/{name}", summary="One served model", response_model=dict[str, Any])
async def get_model(request: Request, name: str) -> Response:
    """Card, variants, taps and measured latency of one model."""
    return ArrayResponse(describe(pipeline_of(request).registry, name))


@router.get("/v1/models/{name}/history", summary="How a model was trained", response_model=HistoryAnswer)
async def get_history(
    request: Request,
    name: str,
    version: Annotated[str | None, Query(description="A version of it; default the current one.")] = None,
    variant: Annotated[VariantName | None, Query(description="The accurate one or the fast one.")] = None,
) -> dict[str, Any]:
    """Loss and accuracy by epoch, on the training and on the validation images."""
    served = find_model(request, name, version, variant)
    history = await anyio.to_thread.run_sync(served.history)
    return answer_head(served, request_id_of(request)) | {"phases": history.phases}
