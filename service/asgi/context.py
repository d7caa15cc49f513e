"""What belongs to one request: its id, its deadline, and what the metrics and the access log say of it.

It is kept in the ASGI scope's ``state``, so that a route finds it wherever it runs, and no other request does.
"""

import math
import re
import secrets
import time
from collections.abc import Mapping
from typing import Final, TypedDict, cast

from opentelemetry import trace
from starlette.requests import Request
from starlette.types import Scope

from models.errors import BadParameter

TIMEOUT_HEADER: Final = "x-timeout-ms"
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(?:-[\x20-\x7e]*)?")
_random: list[bytes] = []


class RequestState(TypedDict, total=False):
    """The keys of ``scope["state"]`` that the service uses."""

    request_id: str
    traceparent: str
    """W3C Trace Context; empty without one."""
    deadline: float
    """When the request is answered 504 at the latest (``time.monotonic``)."""
    model: tuple[str, str, str]
    """(model, version, variant) that answers."""
    timing_ms: dict[str, float]
    """Milliseconds by stage, for the access log."""


def begin_request(scope: Scope, headers: Mapping[str, str]) -> RequestState:
    """Give a request its id and its trace context: the client's own where they are well-formed."""
    state = cast(RequestState, scope.setdefault("state", {}))
    given = headers.get("x-request-id", "")
    state["request_id"] = given if _REQUEST_ID.fullmatch(given) else _new_id()
    state["traceparent"] = _traceparent(headers.get("traceparent", ""))
    return state


def state_of(request: Request) -> RequestState:
    """The state of a request."""
    return cast(RequestState, request.scope.setdefault("state", {}))


def request_id_of(request: Request) -> str:
    """The request's id; empty where no middleware gave it one."""
    return state_of(request).get("request_id", "")


def set_deadline(state: RequestState, limit: float, header: str | None = None) -> float:
    """Set a request's deadline and give it (``time.monotonic``).

    ``limit`` is in seconds; ``header`` is the client's own limit in milliseconds, which can only shorten it.
    Raises ``BadParameter`` for a header that is no such number.
    """
    if header is not None:
        try:
            milliseconds = float(header)
        except ValueError:
            milliseconds = math.nan
        if not 0 < milliseconds < math.inf:
            raise BadParameter(
                f"The header {TIMEOUT_HEADER} is {header[:40]!r}. Give a number of milliseconds above 0."
            )
        limit = min(limit, milliseconds / 1e3)
    deadline = state["deadline"] = time.monotonic() + limit
    return deadline


def deadline_of(request: Request) -> float:
    """A request's deadline (``time.monotonic``)."""
    return state_of(request)["deadline"]


def _new_id() -> str:
    """Sixteen random hex digits; the system is asked for the bytes of a thousand of them at a time."""
    if not _random:
        fresh = secrets.token_bytes(8192)
        _random.extend(fresh[start : start + 8] for start in range(0, len(fresh), 8))
    return _random.pop().hex()


def _traceparent(given: str) -> str:
    """The tracer's span, where one runs, or what the client sent, or nothing."""
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
    return given if _TRACEPARENT.fullmatch(given) else ""
