"""The door of the hot route: who would only find a full queue is told so before the body is read.

A crowd that is refused costs processor time that the networks need. Told here, a refusal takes about a third of what it
takes by way of the router and the route.
"""

from contextlib import suppress
from types import SimpleNamespace
from typing import Final

from fastapi.exceptions import RequestValidationError
from starlette.types import ASGIApp, Receive, Scope, Send

from models.errors import CatseyeError
from service.api import ClassifyQuery
from service.problem import problem_response
from service.query import read_query

PATH: Final = "/v1/classify"
_ROUTE: Final = SimpleNamespace(path=PATH)
"""What the edge counts by, where no router has put its own."""


class Turnstile:
    """Refuses what ``Pipeline.refusal`` says, and lets everything else pass, mistakes too, for the route to answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request in, or not."""
        if scope["type"] == "http" and scope["path"] == PATH and scope["method"] == "POST":
            with suppress(CatseyeError, RequestValidationError):
                query = read_query(ClassifyQuery, scope["query_string"])
                note = scope["catseye"]
                found = scope["app"].state.gateway.refusal(
                    query.model, query.version, query.variant, query.latency_budget_ms, note["request_id"]
                )
                if found is not None:
                    served, error = found
                    note["model"], scope["route"] = served.metric_labels, _ROUTE
                    response = problem_response(error, note["request_id"], PATH)
                    await response(scope, receive, send)
                    return
        await self._app(scope, receive, send)
