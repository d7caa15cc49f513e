"""The outermost middleware: request ids, API keys, limits on bodies and time, metrics and the access log.

It is pure ASGI around BentoML's application, so that it sees every request, unknown paths included, and a body over
the limit is refused at its first byte.
"""

import asyncio
import hashlib
import hmac
import time
from collections.abc import Mapping
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from models.errors import CatseyeError, Draining, Unauthorized
from service.asgi.access_log import BENTOML_PATHS, PROBES
from service.asgi.body_budget import BodyBudget
from service.asgi.context import TIMEOUT_HEADER, set_deadline
from service.asgi.drain import Drain
from service.asgi.exchange import Exchange
from service.metrics import IN_FLIGHT
from service.settings import Settings

_OPEN_PATHS: Final = PROBES | {"/", "/docs", "/openapi.json", "/v2/health/live", "/v2/health/ready"}
_OPEN_PREFIXES: Final = ("/page/", "/docs/")
_GRACE_SECONDS: Final = 0.25
"""How much later than its deadline a request is cut off that did not notice it by itself."""


class ServiceMiddleware:
    """Wraps BentoML's application ``app``, and passes all but the probes straight to ``routes`` where that is given.

    BentoML's router answers a path with a line break in it by itself, in plain text, and has routes of its own.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        settings: Settings,
        drain: Drain,
        routes: ASGIApp | None = None,
    ) -> None:
        self._app = app
        self._routes = routes or app
        self._max_body = settings.max_body_bytes
        self._budget = BodyBudget(settings.max_bodies_bytes)
        self._timeout = settings.timeout
        keys = (key.get_secret_value() for key in settings.api_keys)
        self._keys = [hashlib.sha256(key.encode()).digest() for key in keys]
        self._drain = drain
        self._access_log = settings.access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = Exchange(scope, receive, send, self._budget, self._max_body)
        IN_FLIGHT.inc()
        try:
            error = self._refusal(exchange) or await self._run(exchange)
            if error is not None:
                await exchange.refuse(error)
            await exchange.close()
        finally:
            IN_FLIGHT.dec()
            exchange.record.write(log_line=self._access_log)

    async def _run(self, exchange: Exchange) -> CatseyeError | None:
        """Run the application until the deadline; gives the error to answer with where it did not answer itself."""
        try:
            deadline = set_deadline(exchange.state, self._timeout, exchange.headers.get(TIMEOUT_HEADER))
            async with asyncio.timeout(deadline - time.monotonic() + _GRACE_SECONDS) as limit:
                exchange.admit(limit, deadline)
                app = self._app if exchange.scope["path"] in BENTOML_PATHS else self._routes
                await app(exchange.scope, exchange.receive, exchange.send)
            return None
        except CatseyeError as error:
            if exchange.started:
                raise
            # Without its traceback, which would hold the body until the reply has been taken.
            return error.with_traceback(None)
        except TimeoutError:
            reason = exchange.ended_early()
            if exchange.started and reason is not None:
                raise
            return reason
        finally:
            exchange.release()

    def _refusal(self, exchange: Exchange) -> CatseyeError | None:
        """Why a request is refused before its body is read."""
        headers, path = exchange.headers, exchange.scope["path"]
        if path in PROBES:
            return None
        if self._keys and not _is_open(exchange.scope) and not self._has_key(headers):
            return Unauthorized("The API key is missing or wrong. Send it as `X-API-Key: <key>`.")
        if self._drain.closed():
            return Draining("The server is shutting down. Try again; another one answers.", retry_after=1)
        if exchange.content_length > self._max_body:
            return exchange.too_large(f"{exchange.content_length:,} bytes")
        return None

    def _has_key(self, headers: Mapping[str, str]) -> bool:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        given = headers.get("x-api-key") or (token if scheme.lower() == "bearer" else "")
        digest = hashlib.sha256(given.encode()).digest()
        # Every key is compared, so that the time does not say which one was near.
        return bool(sum([hmac.compare_digest(digest, key) for key in self._keys]))


def _is_open(scope: Scope) -> bool:
    path = scope["path"]
    return path in _OPEN_PATHS or path.startswith(_OPEN_PREFIXES) or scope["method"] == "OPTIONS"
