"""The FastAPI application: every route, the page, and the errors, in one place."""

from collections.abc import Awaitable, Callable
from importlib.metadata import version
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread
from fastapi import FastAPI, Response
from fastapi.staticfiles import StaticFiles
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import FileResponse

from service.asgi.problem import add_handlers
from service.metrics import CONTENT_TYPE_LATEST, exposition
from service.routes import classify, embed, explain, feature_maps, models
from service.routes.lab import routes as lab
from service.routes.openapi import extend_document
from service.routes.schemas import PROBLEMS
from service.routes.v2 import routes as v2
from service.settings import Settings

PAGE = Path(__file__).parent / "page"
_ONE_SCRAPE: Final = anyio.CapacityLimiter(1)
"""Of its own, so that a scrape does not wait for other work in threads."""
REFERENCE = "fastapi_offline"
"""Distribution that carries Swagger UI, so that ``/docs`` works without the web."""


def create_web(settings: Settings) -> FastAPI:
    """The application; ``app.state.pipeline`` is set when the models are loaded."""
    app = FastAPI(
        title="catseye",
        version=version("catseye"),
        summary="Image classification, and a look at what the network sees.",
        docs_url=None,
        redoc_url=None,
        responses=PROBLEMS,
    )
    app.state.limits = settings.limits
    add_handlers(app)
    for routes in (classify, feature_maps, models, explain, embed, lab, v2):
        app.include_router(routes.router)
    app.add_api_route("/metrics", _metrics, include_in_schema=False)
    app.add_api_route("/page/links.json", _links(settings), include_in_schema=False)
    app.mount("/page", StaticFiles(directory=PAGE), name="page")
    app.add_api_route("/", _index, include_in_schema=False)
    app.mount("/docs/assets", StaticFiles(packages=[(REFERENCE, "static")]), name="reference")
    app.add_api_route("/docs", _reference, include_in_schema=False)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors_origins),
            allow_methods=["GET", "POST"],
            allow_headers=["content-type", "x-api-key", "authorization", "x-request-id"],
            expose_headers=["x-request-id", "retry-after"],
        )
    extend_document(app)
    return app


def _links(settings: Settings) -> Callable[[], Awaitable[dict[str, str]]]:
    """Where the page leads that the page cannot know by itself."""

    async def links() -> dict[str, str]:
        return {"grafana": settings.grafana_url} if settings.grafana_url else {}

    return links


async def _metrics() -> Response:
    text = await anyio.to_thread.run_sync(exposition, limiter=_ONE_SCRAPE)
    return Response(text, media_type=CONTENT_TYPE_LATEST)


async def _index() -> FileResponse:
    return FileResponse(PAGE / "index.html")


async def _reference() -> FileResponse:
    return FileResponse(PAGE / "docs.html")
