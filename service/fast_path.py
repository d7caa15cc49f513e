"""The hot route without the way to it through FastAPI, which takes time that the networks could have.

The route is FastAPI's all the same, for its documentation and for pages of other origins (docs/decisions/0029).
"""

from collections.abc import Callable

from fastapi import FastAPI
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from service.application import PAGE_HEADERS
from service.asgi.problem import answer_error
from service.routes.classify import post_classify
from service.routes.turnstile import PATH, ROUTE


class Shortcut:
    """Answers the hot route itself, as the application that ``web`` gives would, and leaves all else to that."""

    def __init__(self, web: Callable[[], FastAPI]) -> None:
        self._web = web

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["path"] != PATH or scope["method"] != "POST":
            await self._web()(scope, receive, send)
            return
        scope["app"], scope["route"] = self._web(), ROUTE
        request = Request(scope, receive, send)
        try:
            response = await post_classify(request)
        except Exception as error:
            response = await answer_error(request, error)
        response.raw_headers.extend(PAGE_HEADERS)
        await response(scope, receive, send)
