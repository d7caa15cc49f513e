"""Clients that ask again and again, and a log of what each request got."""

import asyncio
import threading
import time
from collections import Counter
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tests.support.waiting import seconds_until


@dataclass(frozen=True)
class Reply:
    """A reply's status, its headers in lower case, and its body."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Sent:
    """One request: when its connection was opened, when it began and ended, and what came of it."""

    opened: float
    began: float
    ended: float
    status: int
    """0 where the connection ended before the reply, -1 where none could be made, -2 where no answer came in time."""
    retry_after: str = ""


def request(port: int, body: bytes, path: str = "/v1/classify", headers: str = "") -> bytes:
    """The bytes of a POST."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: image/jpeg\r\n{headers}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def read_reply(reader: asyncio.StreamReader) -> Reply:
    """One whole reply; ``OSError`` or ``IncompleteReadError`` where the connection ends first."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in head[1:] if line)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    return Reply(int(head[0].split()[1]), headers, await reader.readexactly(int(headers.get("content-length", 0))))


class Traffic:
    """So many clients, each with a connection that it keeps, in a thread of their own, while the block runs."""

    def __init__(
        self,
        port: int,
        body: bytes,
        *,
        clients: int = 8,
        pause: float = 0.01,
        timeout: float = 20,
        path: str = "/v1/classify",
        expects: int = 200,
    ) -> None:
        self.expects = expects
        self._port, self._clients, self._pause, self._timeout = port, clients, pause, timeout
        self._request = request(port, body, path)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._all()), daemon=True)
        self.sent: list[Sent] = []

    def __enter__(self) -> Self:
        self._thread.start()
        seconds_until(lambda: any(sent.status == self.expects for sent in self.sent), 30)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join(self._timeout + 10)

    def since(self, when: float) -> list[Sent]:
        """What ended after that (``time.monotonic``)."""
        return [sent for sent in list(self.sent) if sent.ended >= when]

    def lost(self, fault: float, *, cuts: bool = False) -> int:
        """Requests that failed after a fault, beyond those in flight.

        In flight, where the fault ``cuts`` connections, is one request on each that was open then.
        """
        failed = [sent for sent in self.since(fault) if sent.status != 200]
        in_flight = {sent.opened for sent in failed if cuts and 0 < sent.opened <= fault}
        return len(failed) - len(in_flight)

    def kinds(self, fault: float) -> str:
        """What came of the requests that failed after a fault, for the table."""
        counts = Counter(sent.status for sent in self.since(fault) if sent.status != 200)
        names = {0: "cut off", -1: "not let in", -2: "without an answer"}
        return ", ".join(f"{count} {names.get(status, status)}" for status, count in sorted(counts.items()))

    async def _all(self) -> None:
        await asyncio.gather(*(self._client() for _ in range(self._clients)))

    async def _client(self) -> None:
        link, opened = None, 0.0
        while not self._ended.is_set():
            began = time.monotonic()
            try:
                if link is None:
                    link = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", self._port), self._timeout)
                    opened = time.monotonic()
            except OSError:
                self.sent.append(Sent(0.0, began, time.monotonic(), -1))
                await asyncio.sleep(0.05)
                continue
            try:
                link[1].write(self._request)
                reply = await asyncio.wait_for(read_reply(link[0]), self._timeout)
                self.sent.append(
                    Sent(opened, began, time.monotonic(), reply.status, reply.headers.get("retry-after", ""))
                )
                if reply.headers.get("connection") == "close":
                    link[1].close()
                    link = None
            except (OSError, asyncio.IncompleteReadError) as error:
                status = -2 if isinstance(error, TimeoutError) else 0
                self.sent.append(Sent(opened, began, time.monotonic(), status))
                link[1].transport.abort()
                link = None
            await asyncio.sleep(self._pause)
        if link is not None:
            link[1].close()
