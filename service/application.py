"""The FastAPI application: every route, the page, and the errors, in one place."""

from collections.abc import Awaitable, Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import FileResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from service.asgi.problem import add_handlers
from service.routes import classify, embed, explain, feature_maps, metrics, models
from service.routes.lab import routes as lab
from service.routes.openapi import extend_document
from service.routes.schemas import PROBLEMS
from service.routes.v2 import routes as v2
from service.settings import Settings

PAGE = Path(__file__).parent / "page"
REFERENCE = "fastapi_offline"
"""Distribution that carries Swagger UI, so that ``/docs`` works without the web."""
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "font-src 'self'; media-src 'self' blob:; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)

PAGE_HEADERS: Final = (
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)
"""On every reply: nothing from elsewhere, no inline script, no framing, no sniffing."""


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
    for routes in (classify, feature_maps, models, metrics, explain, embed, lab, v2):
        app.include_router(routes.router)
    app.add_api_route("/page/links.json", _links(settings), include_in_schema=False)
    app.mount("/page", StaticFiles(directory=PAGE), name="page")
    app.add_api_route("/", _index, include_in_schema=False)
    app.mount("/docs/assets", StaticFiles(packages=[(REFERENCE, "static")]), name="reference")
    app.add_api_route("/docs", _reference, include_in_schema=False)
    app.add_middleware(_PageHeaders)
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


async def _index() -> FileResponse:
    return FileResponse(PAGE / "index.html")


async def _reference() -> FileResponse:
    return FileResponse(PAGE / "docs.html")


class _PageHeaders:
    """Puts ``PAGE_HEADERS`` on every reply."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *PAGE_HEADERS]
            await send(message)

        await self._app(scope, receive, with_headers)
