"""``GET /metrics``: what Prometheus reads."""

from typing import Final

import anyio
import anyio.to_thread
from fastapi import APIRouter, Response

from service.metrics import CONTENT_TYPE_LATEST, exposition

_ONE_AT_A_TIME: Final = anyio.CapacityLimiter(1)
"""Of its own, so that a scrape does not wait for other work in threads."""

router = APIRouter()


@router.get("/metrics", tags=["operations"], summary="Prometheus metrics", include_in_schema=False)
async def get_metrics() -> Response:
    """The text that Prometheus reads, over all workers."""
    text = await anyio.to_thread.run_sync(exposition, limiter=_ONE_AT_A_TIME)
    return Response(text, media_type=CONTENT_TYPE_LATEST)
