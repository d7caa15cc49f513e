"""More work than can be done: arrivals at a fixed rate, whatever the server does (an open loop)."""

import asyncio
import time
from collections import deque
from dataclasses import dataclass
from statistics import quantiles
from typing import cast

import httpx
import uvloop

from tests.chaos.processes import port_of
from tests.chaos.row import Row
from tests.chaos.traffic import request
from tests.e2e.live import Live

MOST_LINKS = 2_000


@dataclass(frozen=True)
class Load:
    """What an offered load got: seconds from when each request was due, by status, and the refusals' headers."""

    seconds: float
    replies: list[tuple[float, int, str]]
    broken: int

    @property
    def goodput(self) -> float:
        """Right answers a second."""
        return sum(status == 200 for _, status, _ in self.replies) / self.seconds

    @property
    def p99(self) -> float:
        """Seconds, of those that were answered."""
        times = [took for took, status, _ in self.replies if status == 200]
        return quantiles(times, n=100)[98] if len(times) > 1 else 0.0


class Link(asyncio.Protocol):
    """A connection on which one request after another is answered, with as little work as can be.

    Whoever makes the load takes processor time from the server on the same machine, which is not the server's doing.
    """

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._read = bytearray()
        self._answered: asyncio.Future[tuple[int, str]] | None = None

    @classmethod
    async def open(cls, port: int) -> "Link":
        """A new connection."""
        _, link = await asyncio.get_running_loop().create_connection(cls, "127.0.0.1", port)
        return link

    def ask(self, request: bytes) -> "asyncio.Future[tuple[int, str]]":
        """Status and ``Retry-After`` of the reply; ``OSError`` where the connection ends first."""
        self._answered = asyncio.get_running_loop().create_future()
        if self._transport is None or self._transport.is_closing():
            self._answered.set_exception(ConnectionResetError())
        else:
            self._transport.write(request)
        return self._answered

    def close(self) -> None:
        """End it."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        self._read += data
        end = self._read.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._read[:end]).lower()
        if len(self._read) < end + 4 + int(_field(head, b"content-length") or 0):
            return
        self._read.clear()
        if self._answered is not None and not self._answered.done():
            self._answered.set_result((int(head[9:12]), _field(head, b"retry-after").decode()))

    def connection_lost(self, error: Exception | None) -> None:
        """Called by the loop."""
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(error or ConnectionResetError())


def _field(head: bytes, name: bytes) -> bytes:
    """A header's value in a head of small letters, empty where it is missing."""
    _, _, rest = head.partition(b"\r\n" + name + b":")
    return rest.partition(b"\r\n")[0].strip()


def peak(port: int, body: bytes, seconds: float, clients: int = 16) -> float:
    """Right answers a second to so many clients that each ask again at once."""

    async def run() -> float:
        ask, answered, ends = request(port, body), 0, time.monotonic() + seconds

        async def client() -> None:
            nonlocal answered
            link = await Link.open(port)
            while time.monotonic() < ends:
                status, _ = await link.ask(ask)
                answered += status == 200
            link.close()

        began = time.monotonic()
        await asyncio.gather(*(client() for _ in range(clients)))
        return answered / (time.monotonic() - began)

    return uvloop.run(run())


def offered(port: int, body: bytes, rate: float, seconds: float) -> Load:
    """So many requests a second, each sent when it is due on a connection that is idle then, or a new one."""

    async def run() -> Load:
        ask = request(port, body)
        idle: deque[Link] = deque()
        replies: list[tuple[float, int, str]] = []
        broken = links = 0

        async def one(due: float) -> None:
            nonlocal broken, links
            try:
                if idle:
                    link = idle.pop()
                elif links < MOST_LINKS:
                    links += 1
                    link = await Link.open(port)
                else:
                    raise OSError("no connection is free")
                status, retry = await asyncio.wait_for(link.ask(ask), 60)
            except OSError:
                broken += 1
                return
            replies.append((time.monotonic() - due, status, retry))
            idle.append(link)

        began = time.monotonic()
        tasks = []
        for number in range(int(rate * seconds)):
            due = began + number / rate
            if (wait := due - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            tasks.append(asyncio.create_task(one(due)))
        took = time.monotonic() - began
        # What is answered after the last arrival was done with nobody coming, so it does not count as goodput.
        in_time = len(replies)
        await asyncio.gather(*tasks)
        late = [(t, s if s != 200 else 299, r) for t, s, r in replies[in_time:]]
        for link in idle:
            link.close()
        return Load(took, replies[:in_time] + late, broken)

    return uvloop.run(run())


def overload(
    live: Live, body: bytes, *, queue: int, seconds: float, times: tuple[int, ...] = (1, 2, 4, 10)
) -> list[Row]:
    """A row for each multiple of the peak."""
    port = port_of(live)
    peak(port, body, min(seconds, 2))  # warm
    rows, best = [], 0.0
    for multiple in times:
        # Measured anew before each, since the machine may be slower by then.
        best = peak(port, body, seconds)
        used, began = time.process_time(), time.monotonic()
        load = offered(port, body, best * multiple, seconds)
        own = (time.process_time() - used) / (time.monotonic() - began)
        refused = [retry for _, status, retry in load.replies if status == 503]
        odd = sum(status not in (200, 299, 503) for _, status, _ in load.replies) + load.broken
        odd += sum(not retry.isdigit() for retry in refused)
        back = _back(live, body, max((int(retry) for retry in refused if retry.isdigit()), default=0))
        slots = int(live.client.get(f"/v1/models/{live.model}").json()["variants"]["accurate"]["plan"]["threads"])
        bound = (queue + slots + 1) / load.goodput if load.goodput else 0.0
        share = load.goodput / best
        enough = share >= 0.9 or multiple not in (2, 4)
        note = (
            f"{load.goodput:.0f}/s of {best:.0f}/s = {share:.2f}; p99 {load.p99:.2f} s, bound {bound:.2f} s; "
            f"{len(refused):,} refused; the clients took {own:.2f} of a processor"
        )
        held = odd == 0 and back and enough and load.p99 <= bound
        rows.append(Row(f"overload, {multiple} times the peak", len(load.replies) + load.broken, odd, None, held, note))
    return rows


def _back(live: Live, body: bytes, seconds: int) -> bool:
    """Whether one who comes back after so many seconds is answered."""
    time.sleep(seconds)
    with httpx.Client(base_url=live.client.base_url, timeout=60) as client:
        return client.post("/v1/classify", content=body).status_code == 200
