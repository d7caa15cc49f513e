"""Ends connections of clients that take too long to send a request."""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


def limited(seconds: float) -> type[HttpToolsProtocol]:
    """uvicorn's protocol with a time limit for sending a request's head, and what is left of a body after its answer.

    uvicorn waits for both without end, so that a client could hold every descriptor. A request that is being answered
    has a deadline (``service.asgi.middleware``), and an idle connection uvicorn's keep-alive timer.
    """

    class Protocol(HttpToolsProtocol):
        _limit: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._set_limit()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._set_limit()

        def on_headers_complete(self) -> None:
            self._drop_limit()
            super().on_headers_complete()

        def connection_lost(self, exc: Exception | None) -> None:
            self._drop_limit()
            super().connection_lost(exc)

        def _set_limit(self) -> None:
            answering = self.cycle is not None and not self.cycle.response_complete
            if self._limit is None and not answering and self.timeout_keep_alive_task is None:
                self._limit = self.loop.call_later(seconds, self.transport.abort)

        def _drop_limit(self) -> None:
            if self._limit is not None:
                self._limit.cancel()
                self._limit = None

    return Protocol
