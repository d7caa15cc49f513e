"""A bound on the bytes of request bodies that one process holds.

A limit for each body does not bound them all: a thousand clients that send slowly hold a thousand bodies. Over the
bound, the largest body that is still being sent is refused; where all have been sent already, the one that grows is.
"""

import time
from collections.abc import Callable

from models.errors import Overloaded


class Body:
    """The body of one request.

    ``stop`` ends its request when it is refused in favor of others, ``length`` is its announced length in bytes, and
    ``deadline`` when the request ends at the latest (``time.monotonic``).
    """

    def __init__(self, stop: Callable[[], object], length: int, deadline: float) -> None:
        self.stop, self.length, self.deadline = stop, length, deadline
        self.size = 0
        self.refusal: Overloaded | None = None
        """Set when it was refused in favor of others."""


class BodyBudget:
    """The bodies of one process, at most ``max_bytes`` together. Belongs to one event loop."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._all: set[Body] = set()
        self._arriving: set[Body] = set()
        self.held = 0

    def grow(self, body: Body, more: int, *, complete: bool) -> None:
        """Hold ``more`` bytes of a body, ``complete`` if they are its last.

        Raises ``Overloaded`` where this body is itself the one to refuse.
        """
        if not body.size:
            self._all.add(body)
            self._arriving.add(body)
        body.size += more
        self.held += more
        while self.held > self._max_bytes:
            largest = max(self._arriving, key=lambda each: each.size, default=body)
            refusal = self._refusal(largest)
            self.release(largest)
            if largest is body:
                # Not kept: by its traceback it would hold the bytes until the garbage collector runs.
                raise refusal
            largest.refusal = refusal
            largest.stop()
        if complete:
            self._arriving.discard(body)

    def release(self, body: Body) -> None:
        """Hold nothing of a body any more."""
        if body in self._all:
            self._all.remove(body)
            self._arriving.discard(body)
            self.held -= body.size

    def _refusal(self, body: Body) -> Overloaded:
        return Overloaded(
            f"Request bodies of {self._max_bytes:,} bytes are being read, which is the limit. Try again later.",
            self._retry_after(body),
        )

    def _retry_after(self, body: Body) -> float:
        """Seconds until the whole body fits, even if all others take the time that they have."""
        wanted = max(body.size, body.length)
        now = ends = time.monotonic()
        free = self._max_bytes - self.held + body.size
        for other in sorted(self._all - {body}, key=lambda each: each.deadline):
            if free >= wanted:
                break
            free, ends = free + other.size, other.deadline
        return max(1.0, ends - now)
