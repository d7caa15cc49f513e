"""Errors as ``application/problem+json`` (RFC 9457), each with a stable ``code``.

Under ``/v2`` they are ``{"error": "..."}``, as the Open Inference Protocol says, and 422 is 400 there.
"""

import logging
import math
from http import HTTPStatus
from typing import Any, Final

import orjson
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from models.errors import BadParameter, CatseyeError, Draining, Overloaded
from service.asgi.context import request_id_of
from service.metrics import REFUSED

MEDIA_TYPE: Final = "application/problem+json"
PROTOCOL_PATH: Final = "/v2"
CLIENT_LEFT: Final = 499
"""Status in the metrics and the log, as nginx has it, where the client left before the answer. Never sent."""
_CODES: Final = {404: "not_found", 405: "method_not_allowed"}

logger = logging.getLogger("catseye")


def problem(error: CatseyeError, request_id: str) -> dict[str, Any]:
    """The members of the reply's body."""
    return {
        "type": f"urn:catseye:problem:{error.code}",
        "title": error.title,
        "status": int(error.status),
        "code": error.code,
        "detail": error.detail,
        "request_id": request_id,
    }


def problem_response(
    error: CatseyeError, request_id: str, path: str = "", headers: dict[str, str] | None = None
) -> Response:
    """The reply to an error on a route, with ``headers`` beside those that belong to the error."""
    headers = dict(headers or {})
    if isinstance(error, Overloaded):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    if isinstance(error, Draining):
        # A client that keeps the connection would send its next request just as it is closed, and lose it.
        headers["Connection"] = "close"
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="catseye"'
    REFUSED.labels(error.code).inc()
    if path == PROTOCOL_PATH or path.startswith(PROTOCOL_PATH + "/"):
        status = 400 if error.status == HTTPStatus.UNPROCESSABLE_ENTITY else error.status
        return Response(orjson.dumps({"error": error.detail}), status, headers, "application/json")
    return Response(orjson.dumps(problem(error, request_id)), error.status, headers, MEDIA_TYPE)


async def answer_error(request: Request, error: Exception) -> Response:
    """The reply to any exception that a route has raised."""
    if isinstance(error, ClientDisconnect):
        return Response(status_code=CLIENT_LEFT)
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else None
    return problem_response(_translated(request, error), request_id_of(request), request.url.path, headers)


def add_handlers(app: FastAPI) -> None:
    """Answer every exception of ``app`` with a problem."""
    for kind in (CatseyeError, RequestValidationError, HTTPException, ClientDisconnect, Exception):
        app.add_exception_handler(kind, answer_error)


def _translated(request: Request, error: Exception) -> CatseyeError:
    """An exception as one of ours."""
    if isinstance(error, CatseyeError):
        return error
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
        return BadParameter(f"`{where[:80]}`: {first['msg']}. Correct it; /docs lists what each route takes.")
    if isinstance(error, HTTPException):
        return _of_http(request, error)
    logger.exception("unexpected error", exc_info=error)
    return CatseyeError("Something went wrong on our side. The server's log has it under the request id.")


def _of_http(request: Request, error: HTTPException) -> CatseyeError:
    status = HTTPStatus(error.status_code)
    detail = str(error.detail)
    if status == HTTPStatus.NOT_FOUND:
        detail = "There is no such page. /docs lists the routes."
    elif status == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = (error.headers or {}).get("Allow", "another method")
        detail = f"This route does not take {request.method[:16]}. Use {allowed}."
    found = CatseyeError(detail)
    found.status, found.title = status, status.phrase
    found.code = _CODES.get(status, "bad_request" if status < 500 else "internal")
    return found
