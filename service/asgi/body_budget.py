"""How many bytes of request bodies one process holds, and who has to go where that is too much.

A limit for each body does not bound them all: a thousand clients that send slowly hold a thousand bodies. Over the
bound the largest body that is still being sent is dropped, so that whoever sends much gives way to those who send
little; where all have been sent already, the one that grows is refused.
"""

import time
from collections.abc import Callable

from models.errors import Overloaded


class Body:
    """The body of one request, of which nothing has come yet.

    ``stop`` ends its request, should it have to give way; ``length`` is how long the client says that it is, and
    ``ends`` when the request ends at the latest (``time.monotonic``).
    """

    def __init__(self, bodies: "Bodies", stop: Callable[[], object], length: int, ends: float) -> None:
        self._bodies, self.stop, self.length, self.ends = bodies, stop, length, ends
        self.size = 0
        self.refusal: Overloaded | None = None
        """Why it had to give way, if it had to."""

    def add(self, more: int) -> None:
        """Hold so many bytes more; ``Overloaded`` where there is no room."""
        self._bodies.grow(self, more)

    def complete(self) -> None:
        """All of it has come: it is no longer one of those that may be dropped."""
        self._bodies.arriving.discard(self)

    def close(self) -> None:
        """Hold nothing any more."""
        self._bodies.release(self)


class Bodies:
    """The bodies of one process, at most ``most`` bytes together. Belongs to one event loop."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._all: set[Body] = set()
        self.arriving: set[Body] = set()
        self.held = 0

    def grow(self, body: Body, more: int) -> None:
        """Hold more of one of them; ``Overloaded`` where it is itself the one that has to go."""
        if not body.size:
            self._all.add(body)
            self.arriving.add(body)
        body.size += more
        self.held += more
        while self.held > self._most:
            largest = max(self.arriving, key=lambda each: each.size, default=body)
            refusal = self._refusal(largest)
            self.release(largest)
            if largest is body:
                # Not kept: by its traceback it would hold the bytes until the garbage collector comes.
                raise refusal
            largest.refusal = refusal
            largest.stop()

    def release(self, body: Body) -> None:
        """Hold nothing of it any more."""
        if body in self._all:
            self._all.remove(body)
            self.arriving.discard(body)
            self.held -= body.size

    def _refusal(self, body: Body) -> Overloaded:
        return Overloaded(
            f"Requests of {self._most:,} bytes are being read, which is as many as may. Try again later.",
            self._seconds_until_room(body),
        )

    def _seconds_until_room(self, body: Body) -> float:
        """When the whole of a body will have room, even if the others take all the time that they have."""
        wanted = max(body.size, body.length)
        now = ends = time.monotonic()
        room = self._most - self.held + body.size
        for other in sorted(self._all - {body}, key=lambda each: each.ends):
            if room >= wanted:
                break
            room, ends = room + other.size, other.ends
        return max(1.0, ends - now)
