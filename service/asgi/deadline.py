"""Until when the current request must be answered: the service's limit, or a shorter one that the client sets."""

import contextvars
import math
import time
from typing import Final

from models.errors import BadParameter

HEADER: Final = "x-timeout-ms"
_deadline: contextvars.ContextVar[float | None] = contextvars.ContextVar("deadline", default=None)


def begin(limit: float, header: str | None = None) -> float:
    """Set the deadline of the request that this task answers, and give it (``time.monotonic``).

    ``limit`` is in seconds; ``header`` is the client's own limit in milliseconds, which can only shorten it.
    A deadline that stands already may be shortened, not moved out. Raises ``BadParameter`` for a header that
    is no such number.
    """
    ends = time.monotonic() + min(limit, _seconds(header))
    standing = _deadline.get()
    ends = ends if standing is None else min(ends, standing)
    _deadline.set(ends)
    return ends


def current(limit: float) -> float:
    """The deadline of this task's request, or ``limit`` seconds from now where none was set."""
    ends = _deadline.get()
    return time.monotonic() + limit if ends is None else ends


def _seconds(header: str | None) -> float:
    if header is None:
        return math.inf
    try:
        milliseconds = float(header)
    except ValueError:
        milliseconds = math.nan
    if not 0 < milliseconds < math.inf:
        raise BadParameter(f"The header {HEADER} is {header[:40]!r}. Give a number of milliseconds above 0.")
    return milliseconds / 1e3
