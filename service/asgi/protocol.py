"""Ends connections that do not come to the point: a head that never ends, or a body that goes on after its answer.

uvicorn waits for both without end, and so a client could hold every descriptor for nothing. What is being answered has
a deadline of its own (``service.asgi.middleware``), and a
connection that idles between requests has uvicorn's keep-alive timer.
"""

import asyncio
import time
import weakref
from typing import Any, Final

_LOOK_SECONDS: Final = 1.0


class Laggards:
    """Watches uvicorn's connections, and ends those that have been on the way to a request for ``seconds``."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._all: weakref.WeakSet[Any] = weakref.WeakSet()
        self._since: weakref.WeakKeyDictionary[Any, tuple[object, float]] = weakref.WeakKeyDictionary()

    def watch(self, protocol: type[Any]) -> None:
        """Watch every connection of a class of uvicorn's protocols from now on; call it in the event loop."""
        made = protocol.connection_made

        def connection_made(connection: Any, transport: asyncio.Transport) -> None:
            made(connection, transport)
            self._all.add(connection)

        # uvicorn has no hook for it, and BentoML no way to name another class.
        protocol.connection_made = connection_made
        self._look_again()

    def look(self, now: float) -> int:
        """Look once, at a time of ``time.monotonic``; gives how many were ended."""
        ended = 0
        for connection in list(self._all):
            # The cycle is the last request and its reply; another one means that there was one since.
            cycle = connection.cycle
            answering = cycle is not None and not cycle.response_complete
            if answering or connection.timeout_keep_alive_task is not None:
                self._since.pop(connection, None)
                continue
            last, since = self._since.get(connection, (cycle, now))
            if last is not cycle:
                since = now
            self._since[connection] = (cycle, since)
            if now - since >= self._seconds:
                connection.transport.abort()
                self._all.discard(connection)
                ended += 1
        return ended

    def _look_again(self) -> None:
        self.look(time.monotonic())
        asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._look_again)
