"""The BentoML service: ``bentoml serve service.app:Catseye``, and what the workers of ``catseye serve`` serve.

The public routes are a FastAPI application mounted on it, since BentoML's own upload path has no body limit, answers
a broken image with a 500 and halves the throughput (docs/decisions).

``bentoml serve`` imports this module in its supervisor too, only to read how many workers to start. So what a worker
alone needs (FastAPI, the decoders, the networks) is imported when a worker begins, not above.
"""

import os
import threading
from functools import cache
from typing import TYPE_CHECKING, Any, cast

import bentoml

from service.asgi.drain import Drain
from service.compatibility import is_configured
from service.settings import get_settings

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import ASGIApp, Receive, Scope, Send

settings = get_settings()
drain = Drain()


def tracing() -> dict[str, Any]:
    """BentoML's tracing as its own configuration says; without one, no span is made.

    Spans that no exporter takes would cost more than all else around a network.
    """
    configured = "BENTOML_CONFIG" in os.environ or "tracing" in os.environ.get("BENTOML_CONFIG_OPTIONS", "")
    return {} if configured else {"excluded_urls": [".*"]}


@cache
def web() -> "FastAPI":
    """The application, made once in each worker."""
    from service.application import create_web

    made = create_web(settings)
    made.state.drain = drain
    return made


async def mounted(scope: "Scope", receive: "Receive", send: "Send") -> None:
    """The application as a plain callable, for BentoML to hand it every path, unknown ones included."""
    await web()(scope, receive, send)


def with_middleware(app: "ASGIApp") -> "ASGIApp":
    """BentoML's application with our middleware around it."""
    from service.asgi.middleware import ServiceMiddleware
    from service.fast_path import FastPath

    # The fast path has no headers for pages of other origins.
    routes = mounted if settings.cors_origins else FastPath(web)
    return ServiceMiddleware(app, settings=settings, drain=drain, routes=routes)


@bentoml.service(
    name="catseye",
    workers=settings.workers,
    traffic={"timeout": settings.timeout + 30},
    tracing=tracing(),
    metrics={"enabled": False},  # its series carry the raw path, so that a scan grows them without end
    logging={"access": {"enabled": False}},
)
@bentoml.asgi_app(mounted, path="/")
class Catseye:
    """Classifies images with every model in the store."""

    def __init__(self) -> None:
        from service.inference.preload import preload
        from service.inference.store_watcher import StoreWatcher
        from service.logs import write_log_lines
        from service.metrics import count_worker

        write_log_lines()
        begun = preload()
        # The networks are compiled outside of the interpreter, so the routes are made meanwhile.
        making = threading.Thread(target=web, name="catseye-web")
        making.start()
        count_worker(settings.workers)
        self._pipeline = begun.result()
        making.join()
        web().state.pipeline = self._pipeline
        self._watcher = StoreWatcher(self._pipeline.registry.refresh, settings.reload_seconds)
        if settings.reload_seconds:
            self._watcher.start()

    # Both are coroutines, since BentoML calls plain functions in threads, which other work may hold.

    async def __is_ready__(self) -> bool:
        """Whether a model is loaded and warm, and the server is not shutting down."""
        return self._pipeline.ready() and not drain.draining()

    async def __is_alive__(self) -> bool:
        """Whether the process answers, which it does if this runs."""
        return True

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]  # BentoML annotates only the outer one
    def end(self) -> None:
        """Close the models, once running requests have ended."""
        from service.logs import flush_log_lines

        self._watcher.stop()
        self._pipeline.close()
        flush_log_lines()


_service: Any = Catseye  # the decorator makes a BentoML service of it, which its annotation does not say
_service.add_asgi_middleware(with_middleware)


def asgi() -> "ASGIApp":
    """What a worker of ``catseye serve`` serves.

    Our middleware is the first to see a request, unless BentoML is configured, whose tracing and CORS then are.
    BentoML's own middlewares make a task and a timer for each request, which stays for as long as its limit, though
    ours has set one already.
    """
    if is_configured():
        bentoml.server_context.service_name = _service.name  # which spans carry
        return cast("ASGIApp", _service.to_asgi())
    _service.middlewares.clear()
    return with_middleware(_service.to_asgi())
