"""How a served model was trained: its learning curves as numbers."""

from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel

from models.card import VariantName
from models.store.history import History, Phase
from service.asgi.problem import request_id_of
from service.ports import gateway_of

router = APIRouter(tags=["models"])


class HistoryAnswer(BaseModel):
    """The phases of the training run, each with the figures of its epochs; none where they were not kept."""

    model: str
    version: str
    variant: str
    phases: tuple[Phase, ...]
    request_id: str


@router.get("/v1/models/{name}/history", summary="How a model was trained", response_model=HistoryAnswer)
async def get_history(
    request: Request,
    name: str,
    version: Annotated[str | None, Query(description="A version of it; default the current one.")] = None,
    variant: Annotated[VariantName | None, Query(description="The accurate one or the fast one.")] = None,
) -> dict[str, Any]:
    """Loss and accuracy by epoch, on the training and on the validation images."""
    served = gateway_of(request).find(name, version, variant, request_id_of(request))
    history: History = await anyio.to_thread.run_sync(served.history)
    return {
        "model": served.name,
        "version": served.version,
        "variant": served.variant,
        "phases": history.phases,
        "request_id": request_id_of(request),
    }
