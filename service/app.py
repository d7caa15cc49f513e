"""The BentoML service: ``bentoml serve service.app:Catseye``.

BentoML runs the process, the workers and the probes; the public routes are a FastAPI application mounted
on it, since BentoML's own upload path has no body limit, answers a broken image with a 500 and halves the
throughput (docs/decisions).

BentoML's supervisor imports this module too, only to read how many workers to start. So what a worker alone
needs (FastAPI, the decoders, the networks) is imported when a worker begins, not above.
"""

import os
import signal
import threading
from functools import cache
from typing import TYPE_CHECKING, Any

import bentoml
from _bentoml_sdk import Service

from service.process.drain import Drain
from service.process.launcher import is_configured
from service.settings import get_settings

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import ASGIApp, Receive, Scope, Send

settings = get_settings()
drain = Drain()


def tracing() -> dict[str, Any]:
    """BentoML's tracing as its own configuration says; without one, no span is made for nobody.

    Spans that no exporter takes would cost more than all else around a network.
    """
    configured = "BENTOML_CONFIG" in os.environ or "tracing" in os.environ.get("BENTOML_CONFIG_OPTIONS", "")
    return {} if configured else {"excluded_urls": [".*"]}


class Fronted(Service[Any]):  # type: ignore[misc]  # BentoML says nothing of its types
    """A service whose edge is the first to see a request, unless BentoML is configured to do something before.

    BentoML's own middlewares make a task and a timer for each request, which stays for as long as its limit, though the
    edge has set one already.
    """

    def to_asgi(self, *args: Any, **more: Any) -> Any:
        """The application that a worker serves."""
        if is_configured():
            self.add_asgi_middleware(edged)
            return super().to_asgi(*args, **more)
        return edged(super().to_asgi(*args, **more))


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


def edged(app: "ASGIApp") -> "ASGIApp":
    """BentoML's application with our middleware around it."""
    from service.asgi.middleware import ServiceMiddleware
    from service.fast_path import FastPath
    from service.process.sockets import stop_listening

    # The fast path has no headers for pages of other origins.
    routes = mounted if settings.cors_origins else FastPath(web)
    return ServiceMiddleware(app, settings=settings, drain=drain, routes=routes, stop_listening=stop_listening)


@bentoml.service(
    name="catseye",
    workers=settings.workers,
    traffic={"timeout": settings.timeout + 30},
    tracing=tracing(),
    metrics={"enabled": False},  # its series carry the raw path, so that a scan grows them without end
    logging={"access": {"enabled": False}},
    service_class=Fronted,
)
@bentoml.asgi_app(mounted, path="/")
class Catseye:
    """Classifies images with every model in the store."""

    def __init__(self) -> None:
        from service.inference.preload import opening
        from service.logs import write_log_lines

        write_log_lines()
        begun = opening()
        # The networks are compiled outside of the interpreter, so the routes are made meanwhile.
        making = threading.Thread(target=web, name="catseye-web")
        making.start()
        from uvicorn.protocols.http.auto import AutoHTTPProtocol

        from service.asgi.protocol import Laggards
        from service.inference.store_watcher import StoreWatcher
        from service.metrics import count_worker
        from service.process.garbage import Garbage
        from service.process.heartbeat import begin_beating
        from service.process.parent_death import leave_with_parent
        from service.process.sockets import drop_unread

        leave_with_parent(drain)
        count_worker(settings.workers)
        drop_unread(settings.timeout)
        Laggards(settings.timeout).watch(AutoHTTPProtocol)
        self._pipeline = begun.result()
        making.join()
        web().state.pipeline = self._pipeline
        registry = self._pipeline.registry
        self._garbage = Garbage(lambda: registry.changes if settings.runtime == "tensorflow" else 0)
        self._garbage.begin()  # ``service.process.worker`` turned it off
        self._lookout = StoreWatcher(self._look, settings.reload_seconds)
        if settings.reload_seconds:
            self._lookout.begin()
        if not begin_beating():
            os.kill(os.getpid(), signal.SIGTERM)  # the server ended while this worker was on its way

    def _look(self) -> None:
        self._pipeline.registry.refresh()
        self._garbage.look()

    # Both are coroutines, since BentoML would run functions in threads that other work can keep busy.
    async def __is_ready__(self) -> bool:
        """Whether a model is loaded and warm, and the server is not on its way out."""
        return self._pipeline.ready() and not drain.draining()

    async def __is_alive__(self) -> bool:
        """Whether the process answers, which it does if this runs."""
        return True

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]  # BentoML annotates only the outer one
    def end(self) -> None:
        """Let running work end, then close the models."""
        from service.logs import flush_log_lines

        drain.begin(0)
        self._lookout.end()
        self._pipeline.close()
        flush_log_lines()
