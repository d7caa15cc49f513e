"""The outermost layer: request ids, API keys, the body limit, counting, and the access log.

Pure ASGI around the whole application, so that it sees every request, unknown paths included, and so
that a body over the limit is refused at its first byte.
"""

import asyncio
import hashlib
import hmac
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final

import anyio
import orjson
from opentelemetry import trace
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models.errors import CatseyeError, Draining, Overloaded, TimedOut, TooLarge, Unauthorized
from service.asgi import deadline
from service.asgi.body_budget import Bodies, Body
from service.asgi.problem import problem_response
from service.metrics import IN_FLIGHT, REQUESTS
from service.process.drain import Drain
from service.settings import Settings

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(?:-[\x20-\x7e]*)?")
_BENTOML_PATHS: Final = frozenset({"/livez", "/readyz", "/healthz"})
_PROBES: Final = _BENTOML_PATHS | {"/metrics"}
_OPEN_PATHS: Final = _PROBES | {"/", "/docs", "/openapi.json", "/v2/health/live", "/v2/health/ready"}
_OPEN_PREFIXES: Final = ("/page/", "/docs/")
_LINGER_BYTES: Final = 256_000_000
_LINGER_SECONDS: Final = 5.0
_GRACE_SECONDS: Final = 0.25
"""How much later than its deadline a request is cut off that did not notice it by itself."""
_LAST_CALL_SECONDS: Final = 0.2
"""How long new work is refused in words before nobody is let in: with ``stop_listening``'s own wait a little less than
``service.process.launcher`` waits."""
_NO_MODEL: Final = ("", "", "")

log = logging.getLogger("catseye.access")
_random: list[bytes] = []


class Edge:
    """Wraps BentoML's application ``app``, and hands all but the probes straight to ``web`` where that is given.

    BentoML's router answers a path with a line break in it by itself, in plain text, and has routes of its own.
    ``turnstile`` may refuse what there is no room for, before its body is read.
    ``last_call`` is called shortly after the first request that is refused because the server is on its way out.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        settings: Settings,
        drain: Drain,
        web: ASGIApp | None = None,
        turnstile: Callable[[Scope], CatseyeError | None] | None = None,
        last_call: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self._app = app
        self._web = web or app
        self._max_body = settings.max_body_bytes
        self._bodies = Bodies(settings.max_bodies_bytes)
        self._timeout = settings.timeout
        keys = (key.get_secret_value() for key in settings.api_keys)
        self._keys = [hashlib.sha256(key.encode()).digest() for key in keys]
        self._drain = drain
        self._turnstile = turnstile
        self._last_call = last_call
        self._leaving: asyncio.Task[None] | None = None
        self._access_log = settings.access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send, self._max_body)
        IN_FLIGHT.inc()
        try:
            refusal = self._refusal(scope, exchange)
            if refusal is None:
                await self._pass(scope, exchange)
            else:
                await exchange.refuse(refusal)
            if exchange.body is not None:
                exchange.body.close()
            await exchange.end()
        finally:
            IN_FLIGHT.dec()
            if exchange.body is not None:
                exchange.body.close()
            exchange.count()
            if self._access_log and scope["path"] not in _PROBES:
                exchange.log()

    async def _pass(self, scope: Scope, exchange: "_Exchange") -> None:
        """Let the request in, until its deadline: a body that never ends must not hold a place for ever."""
        refusal: CatseyeError | None = None
        try:
            ends = deadline.begin(self._timeout, exchange.headers.get(deadline.HEADER))
            async with asyncio.timeout(ends - time.monotonic() + _GRACE_SECONDS) as limit:
                exchange.body = Body(self._bodies, partial(_end, limit), _length(exchange.headers), ends)
                app = self._app if scope["path"] in _BENTOML_PATHS else self._web
                await app(scope, exchange.receive, exchange.send)
        except CatseyeError as error:
            if exchange.started:
                raise
            # Without what it was raised from, which would hold the body until the reply has been taken.
            refusal = error.with_traceback(None)
        except TimeoutError:
            if exchange.started:
                raise
            late = TimedOut("The answer was not ready within the time limit. Try again later, or send less at once.")
            refusal = (exchange.body.refusal if exchange.body else None) or late
        if refusal is not None:
            await exchange.refuse(refusal)

    def _refusal(self, scope: Scope, exchange: "_Exchange") -> CatseyeError | None:
        """Why the request is not let in."""
        headers = exchange.headers
        if scope["path"] in _PROBES:
            return None
        if self._keys and not _is_open(scope) and not self._knows(headers):
            return Unauthorized("The API key is missing or wrong. Send it as `X-API-Key: <key>`.")
        if self._drain.closed():
            if self._last_call is not None and self._leaving is None:
                self._leaving = asyncio.create_task(self._leave(self._last_call))
            return Draining("The server is shutting down. Try again; another one answers.", retry_after=1)
        if (length := _length(headers)) > self._max_body:
            return exchange.too_large(f"{length:,} bytes")
        return None if self._turnstile is None else self._turnstile(scope)

    async def _leave(self, last_call: Callable[[], Awaitable[object]]) -> None:
        await asyncio.sleep(_LAST_CALL_SECONDS)
        await last_call()

    def _knows(self, headers: Mapping[str, str]) -> bool:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        given = headers.get("x-api-key") or (token if scheme.lower() == "bearer" else "")
        digest = hashlib.sha256(given.encode()).digest()
        # Every key is compared, so that the time does not say which one was near.
        return bool(sum([hmac.compare_digest(digest, key) for key in self._keys]))


class _Exchange:
    """One request and its reply, watched."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, max_body: int) -> None:
        self._scope, self._receive, self._send, self._max_body = scope, receive, send, max_body
        # The first of each name, as ``Headers.get`` gives it; looked through once.
        self.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(scope["headers"])}
        given = self.headers.get("x-request-id", "")
        self.request_id = given if _REQUEST_ID.fullmatch(given) else _new_id()
        scope["catseye"] = {"request_id": self.request_id}
        self._trace = _traceparent(self.headers.get("traceparent", ""))
        self._began = time.perf_counter()
        self._status = 500
        self.started = False
        self.body: Body | None = None
        """What is held of its body, once it is let in."""
        self._read = self._written = 0
        self._complete = self._abandoned = False

    async def receive(self) -> Message:
        message = await self._receive()
        more = len(message.get("body", b""))
        self._read += more
        if self._read > self._max_body:
            raise self.too_large("more bytes than that")
        if self.body is not None:
            await self._hold(self.body, more)
            if not message.get("more_body"):
                self.body.complete()
        self._complete = not message.get("more_body")
        return message

    async def _hold(self, body: Body, more: int) -> None:
        if body.refusal is not None:  # it had to give way, and its end is on its way
            await asyncio.Event().wait()
        try:
            body.add(more)
        except Overloaded:
            self._abandoned = True
            raise

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self.started = True
            extra = [(b"x-request-id", self.request_id.encode())]
            if self._trace:
                extra.append((b"traceparent", self._trace.encode()))
            if self._abandoned:
                extra.append((b"connection", b"close"))
            message["headers"] = [*message.get("headers", ()), *extra]
        elif message["type"] == "http.response.body":
            self._written += len(message.get("body", b""))
            if self._abandoned and not message.get("more_body"):
                message = {**message, "more_body": True}  # ``end`` is the end
        await self._send(message)

    async def refuse(self, error: CatseyeError) -> None:
        # A draining server closes its connections, and a client that still sends would lose the reply to a reset.
        self._abandoned |= not self._complete and (self._read > 0 or isinstance(error, Draining))
        response = problem_response(error, self.request_id, self._scope["path"])
        await response(self._scope, self.receive, self.send)

    def too_large(self, what: str) -> TooLarge:
        self._abandoned = True
        return TooLarge(
            f"The body has {what} and at most {self._max_body:,} bytes are read. "
            "Send a smaller or more compressed image, or fewer at once."
        )

    async def end(self) -> None:
        """After a reply that came before the body's end, read on for a while, then close.

        A client that still sends would otherwise lose the reply to a reset; one that sends for ever would keep its
        connection. Not before here, where nobody holds any more what has come of the body.
        """
        if self._abandoned and self.started:
            await self._linger()
            await self._send({"type": "http.response.body", "body": b""})

    async def _linger(self) -> None:
        left = _LINGER_BYTES
        with anyio.move_on_after(_LINGER_SECONDS):
            while left > 0:
                message = await self._receive()
                left -= len(message.get("body", b""))
                if message["type"] != "http.request" or not message.get("more_body"):
                    return

    def count(self) -> None:
        model, version, variant = self._scope["catseye"].get("model", _NO_MODEL)
        seconds = time.perf_counter() - self._began
        labels = (self._route(), _method(self._scope), str(self._status), model, version, variant)
        REQUESTS.labels(*labels).observe(seconds)

    def log(self) -> None:
        note: dict[str, Any] = self._scope["catseye"]
        model, version, variant = note.get("model", _NO_MODEL)
        line = {
            "time": round(time.time(), 3),
            "request_id": self.request_id,
            "trace_id": self._trace.split("-")[1] if self._trace else None,
            "method": _method(self._scope),
            "route": self._route(),
            "status": self._status,
            "model": model,
            "version": version,
            "variant": variant,
            "bytes_in": self._read,
            "bytes_out": self._written,
            "ms": round((time.perf_counter() - self._began) * 1e3, 2),
            "timing_ms": note.get("timing_ms"),
        }
        log.info("%s", orjson.dumps(line).decode())

    def _route(self) -> str:
        if self._scope["path"] in _PROBES:
            return str(self._scope["path"])
        route = self._scope.get("route")
        return str(getattr(route, "path", None) or "unknown")


def _new_id() -> str:
    """Sixteen random hex digits, of bytes that the system is asked for a thousand at a time."""
    if not _random:
        fresh = secrets.token_bytes(8192)
        _random.extend(fresh[start : start + 8] for start in range(0, len(fresh), 8))
    return _random.pop().hex()


def _end(limit: asyncio.Timeout) -> None:
    """End the time of a request now."""
    with suppress(RuntimeError):  # it is over already
        limit.reschedule(asyncio.get_running_loop().time())


def _length(headers: Mapping[str, str]) -> int:
    """How long a body is promised to be; 0 where nothing is said, or nothing that can be read."""
    given = headers.get("content-length", "")
    return int(given) if given.isdecimal() and given.isascii() and len(given) < 20 else 0


def _is_open(scope: Scope) -> bool:
    path = scope["path"]
    return path in _OPEN_PATHS or path.startswith(_OPEN_PREFIXES) or scope["method"] == "OPTIONS"


def _method(scope: Scope) -> str:
    method = str(scope["method"])
    return method if method in {"GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"} else "other"


def _traceparent(given: str) -> str:
    """The tracer's span, where one runs, or what the client sent, or nothing (W3C Trace Context)."""
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
    return given if _TRACEPARENT.fullmatch(given) else ""


def scope_note(request: Request) -> dict[str, Any]:
    """Where a route leaves what the edge counts and logs: ``model`` and ``timing_ms``."""
    note: dict[str, Any] = request.scope["catseye"]
    return note
