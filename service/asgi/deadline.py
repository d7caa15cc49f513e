"""When a request must be answered: the service's time limit, or a shorter one that the client sets."""

import math
import time
from typing import Final

from starlette.requests import Request

from models.errors import BadParameter
from service.asgi.context import RequestState, state_of

HEADER: Final = "x-timeout-ms"


def set_deadline(state: RequestState, limit: float, header: str | None = None) -> float:
    """Set a request's deadline and give it (``time.monotonic``).

    ``limit`` is in seconds; ``header`` is the client's own limit in milliseconds, which can only shorten it.
    Raises ``BadParameter`` for a header that is no such number.
    """
    if header is not None:
        limit = min(limit, _seconds(header))
    deadline = state["deadline"] = time.monotonic() + limit
    return deadline


def deadline_of(request: Request) -> float:
    """A request's deadline (``time.monotonic``)."""
    return state_of(request)["deadline"]


def _seconds(header: str) -> float:
    try:
        milliseconds = float(header)
    except ValueError:
        milliseconds = math.nan
    if not 0 < milliseconds < math.inf:
        raise BadParameter(f"The header {HEADER} is {header[:40]!r}. Give a number of milliseconds above 0.")
    return milliseconds / 1e3
