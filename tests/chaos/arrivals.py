"""Requests at a fixed rate, whatever the server does (an open loop), and the highest rate that it can answer.

Whoever makes the load takes processor time from the server on the same machine, which is not the server's doing. So
this does as little as can be: no task, no future and no timer for a request.
"""

import asyncio
import gc
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from statistics import quantiles
from typing import TypeVar, cast

import uvloop

MOST_LINKS = 2_000
LAST_SECONDS = 60.0
"""How long the last replies are waited for."""

T = TypeVar("T")
Told = Callable[["Link", int, str], None]


@dataclass(frozen=True)
class Answered:
    """A reply: when its request was due and when it came, in seconds of ``time.monotonic``."""

    due: float
    came: float
    status: int
    retry_after: str = ""

    @property
    def took(self) -> float:
        """Seconds."""
        return self.came - self.due


@dataclass(frozen=True)
class Load:
    """What requests at a fixed rate got, in one spell after another."""

    seconds: float
    """How long requests came."""
    replies: list[Answered]
    broken: int
    """Requests without a reply."""
    in_time: int
    """Right answers before the last request of a spell was due; what came later was done with nobody coming."""
    firsts: list[int]
    """For each right answer, how many came while its request waited, itself with them."""

    def __add__(self, more: "Load") -> "Load":
        """Both."""
        return Load(
            self.seconds + more.seconds,
            self.replies + more.replies,
            self.broken + more.broken,
            self.in_time + more.in_time,
            self.firsts + more.firsts,
        )

    @classmethod
    def of(cls, began: float, ended: float, replies: list[Answered], broken: int) -> "Load":
        """One spell; the replies are in the order in which they came."""
        right = [reply for reply in replies if reply.status == 200]
        came = [reply.came for reply in right]
        firsts = [bisect_right(came, reply.came) - bisect_right(came, reply.due) for reply in right]
        return cls(ended - began, replies, broken, bisect_right(came, ended), firsts)

    @property
    def goodput(self) -> float:
        """Right answers a second."""
        return self.in_time / self.seconds

    def count(self, status: int) -> int:
        """Replies with a status."""
        return sum(reply.status == status for reply in self.replies)

    def p99(self, status: int) -> float:
        """Seconds that replies with a status took, from when their requests were due; 0 where there are none."""
        return _p99([reply.took for reply in self.replies if reply.status == status])

    def first(self) -> float:
        """How many right answers came while a request waited for its own, its own with them (99th percentile)."""
        return _p99(self.firsts)


class Link(asyncio.Protocol):
    """A connection on which one request after another is answered; ``told`` is given status and ``Retry-After``.

    Status 0 is a connection that ended before its reply.
    """

    def __init__(self, told: Told) -> None:
        self._told = told
        self._transport: asyncio.Transport | None = None
        self._read = bytearray()
        self._asked = False
        self.due = 0.0

    @classmethod
    async def open(cls, port: int, told: Told) -> "Link":
        """A new connection."""
        _, link = await asyncio.get_running_loop().create_connection(lambda: cls(told), "127.0.0.1", port)
        return link

    def ask(self, request: bytes, due: float) -> None:
        """Send a request."""
        self._asked, self.due = True, due
        if self._transport is None or self._transport.is_closing():
            self._tell(0, "")
        else:
            self._transport.write(request)

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
        status = int(head[9:12])
        self._tell(status, _field(head, b"retry-after").decode() if status == 503 else "")

    def connection_lost(self, error: Exception | None) -> None:
        """Called by the loop."""
        self._tell(0, "")

    def _tell(self, status: int, retry_after: str) -> None:
        if self._asked:
            self._asked = False
            self._told(self, status, retry_after)


def peak(port: int, request: bytes, seconds: float, clients: int = 16) -> float:
    """Right answers a second to so many clients that each ask again at once; ``OSError`` where one is cut off."""

    async def run() -> float:
        began = time.monotonic()
        ends, right, cut, asking = began + seconds, 0, 0, clients
        done = asyncio.Event()

        def told(link: Link, status: int, retry_after: str) -> None:
            nonlocal right, cut, asking
            right += status == 200
            cut += status == 0
            if status and time.monotonic() < ends:
                link.ask(request, 0)
                return
            link.close()
            asking -= 1
            if not asking:
                done.set()

        for _ in range(clients):
            (await Link.open(port, told)).ask(request, 0)
        await asyncio.wait_for(done.wait(), seconds + LAST_SECONDS)
        if cut:
            raise ConnectionResetError(f"{cut} of {clients} connections were cut off")
        return right / (time.monotonic() - began)

    return _undisturbed(run)


def offered(port: int, request: bytes, rate: float, seconds: float) -> Load:
    """So many requests a second, each sent when it is due on a connection that is idle then, or a new one."""

    async def run() -> Load:
        idle: deque[Link] = deque()
        replies: list[Answered] = []
        broken = answered = 0
        opening: set[asyncio.Task[None]] = set()

        def told(link: Link, status: int, retry_after: str) -> None:
            nonlocal broken, answered
            answered += 1
            if status:
                replies.append(Answered(link.due, time.monotonic(), status, retry_after))
                idle.append(link)
            else:
                broken += 1

        async def on_a_new_one(due: float) -> None:
            nonlocal broken, answered
            try:
                (await Link.open(port, told)).ask(request, due)
            except OSError:
                broken += 1
                answered += 1

        began = time.monotonic()
        count, links = int(rate * seconds), 0
        for number in range(count):
            due = began + number / rate
            if (wait := due - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            if idle:
                idle.pop().ask(request, due)
            elif links < MOST_LINKS:
                links += 1
                task = asyncio.create_task(on_a_new_one(due))
                opening.add(task)
                task.add_done_callback(opening.discard)
            else:
                broken += 1
                answered += 1
        ended = time.monotonic()
        while answered < count and time.monotonic() < ended + LAST_SECONDS:
            await asyncio.sleep(0.01)
        for link in idle:
            link.close()
        return Load.of(began, ended, replies, broken + count - answered)

    return _undisturbed(run)


def _undisturbed(run: Callable[[], Coroutine[None, None, T]]) -> T:
    """Run it without Python's search for garbage, which stops all for a third of a second where TensorFlow is loaded.

    Requests that were due meanwhile would seem to have waited for the server.
    """
    gc.collect()
    gc.disable()
    try:
        return uvloop.run(run())
    finally:
        gc.enable()


def _field(head: bytes, name: bytes) -> bytes:
    """A header's value in a head of small letters, empty where it is missing."""
    _, _, rest = head.partition(b"\r\n" + name + b":")
    return rest.partition(b"\r\n")[0].strip()


def _p99(values: Sequence[float]) -> float:
    return quantiles(values, n=100)[98] if len(values) > 1 else 0.0
