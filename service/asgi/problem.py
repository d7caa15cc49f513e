"""Errors as ``application/problem+json`` (RFC 9457), each with a stable ``code``.

Under ``/v2`` they are ``{"error": "..."}``, as the Open Inference Protocol says, and 422 is 400 there.
"""

import logging
import math
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final

import orjson
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from models.errors import BadParameter, CatseyeError, Draining, Overloaded
from service.metrics import REFUSED

MEDIA_TYPE = "application/problem+json"
PROTOCOL_PATH = "/v2"
CLIENT_LEFT = 499
"""What nginx writes into its log for a client that left before it could be answered."""
_CODES = {404: "not_found", 405: "method_not_allowed"}

logger = logging.getLogger("catseye")


def problem(error: CatseyeError, request_id: str) -> dict[str, Any]:
    """The members of the reply's body."""
    return _members(error.status, error.code, error.title, error.detail, request_id)


def problem_response(error: CatseyeError, request_id: str, path: str = "") -> Response:
    """The reply to an error of ours on a route."""
    headers = {}
    if isinstance(error, Overloaded):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    if isinstance(error, Draining):
        # Whoever keeps the connection would send the next request just as it is closed, and lose it.
        headers["Connection"] = "close"
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="catseye"'
    REFUSED.labels(error.code).inc()
    return _response(problem(error, request_id), headers, path)


def add_handlers(app: FastAPI) -> None:
    """Answer every exception of ``app`` with a problem."""
    for kind, handler in _HANDLERS.items():
        app.add_exception_handler(kind, handler)


async def answer_error(request: Request, error: Exception) -> Response:
    """The reply to an exception that a route has raised, outside of an application."""
    return await next(handler for kind, handler in _HANDLERS.items() if isinstance(error, kind))(request, error)


async def _on_catseye(request: Request, error: Exception) -> Response:
    assert isinstance(error, CatseyeError)  # noqa: S101 - what it was registered for
    return problem_response(error, request_id_of(request), request.url.path)


async def _on_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - what it was registered for
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
    detail = f"`{where[:80]}`: {first['msg']}. Correct it; /docs lists what each route takes."
    return problem_response(BadParameter(detail), request_id_of(request), request.url.path)


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - what it was registered for
    status = HTTPStatus(error.status_code)
    code = _CODES.get(status, "bad_request" if status < 500 else "internal")
    detail = str(error.detail)
    if status == HTTPStatus.NOT_FOUND:
        detail = "There is no such page. /docs lists the routes."
    elif status == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = (error.headers or {}).get("Allow", "another method")
        detail = f"This route does not take {request.method[:16]}. Use {allowed}."
    REFUSED.labels(code).inc()
    members = _members(status, code, status.phrase, detail, request_id_of(request))
    return _response(members, dict(error.headers or {}), request.url.path)


async def _on_leaving(request: Request, error: Exception) -> Response:
    # Nobody reads it, but it is counted and logged: a client that leaves is no error of ours.
    return Response(status_code=CLIENT_LEFT)


async def _on_bug(request: Request, error: Exception) -> Response:
    logger.exception("unexpected error", exc_info=error)
    REFUSED.labels("internal").inc()
    detail = "Something went wrong on our side. The server's log has it under the request id."
    members = _members(500, "internal", "Internal error", detail, request_id_of(request))
    return _response(members, {}, request.url.path)


_HANDLERS: Final[dict[type[Exception], Callable[[Request, Exception], Awaitable[Response]]]] = {
    CatseyeError: _on_catseye,
    RequestValidationError: _on_validation,
    HTTPException: _on_http,
    ClientDisconnect: _on_leaving,
    Exception: _on_bug,
}


def request_id_of(request: Request) -> str:
    """The id that the edge gave the request."""
    return str(request.scope.get("catseye", {}).get("request_id", ""))


def _members(status: int, code: str, title: str, detail: str, request_id: str) -> dict[str, Any]:
    return {
        "type": f"urn:catseye:problem:{code}",
        "title": title,
        "status": int(status),
        "code": code,
        "detail": detail,
        "request_id": request_id,
    }


def _response(members: dict[str, Any], headers: dict[str, str], path: str) -> Response:
    if path == PROTOCOL_PATH or path.startswith(PROTOCOL_PATH + "/"):
        status = 400 if members["status"] == HTTPStatus.UNPROCESSABLE_ENTITY else members["status"]
        return Response(orjson.dumps({"error": members["detail"]}), status, headers, "application/json")
    return Response(orjson.dumps(members), members["status"], headers, MEDIA_TYPE)
