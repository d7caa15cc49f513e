"""``POST /v1/classify`` without FastAPI's routing, whose time the networks can use.

The route is FastAPI's all the same, for its documentation and for pages of other origins (docs/decisions/0015).
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Final

from fastapi import FastAPI
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from service.asgi.problem import answer_error
from service.routes.classify import post_classify

PATH: Final = "/v1/classify"
ROUTE: Final = SimpleNamespace(path=PATH)
"""In the scope where a router puts its own, for the metrics and the access log."""


class FastPath:
    """Answers ``/v1/classify`` as the application would, and passes all other requests to it.

    ``application`` gives the application, which is made when the first request comes.
    """

    def __init__(self, application: Callable[[], FastAPI]) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["path"] != PATH or scope["method"] != "POST":
            await self._application()(scope, receive, send)
            return
        scope["app"], scope["route"] = self._application(), ROUTE
        request = Request(scope, receive, send)
        try:
            response = await post_classify(request)
        except Exception as error:
            response = await answer_error(request, error)
        await response(scope, receive, send)
