"""A bounded queue before each model: who waits, who is refused, and for how long to stay away."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from models.errors import Overloaded, TimedOut
from service.metrics import QUEUE_DEPTH

T = TypeVar("T")

MAX_HELD_BYTES: Final = 256_000_000
"""Most bytes of feature maps and other arrays that drawing work holds, waiting and running."""
_SMOOTHING = 0.1
_FIRST_GUESS = 0.05


class AdmissionQueue:
    """Lets ``slots`` pieces of work run at once and ``queue`` wait, first come first served.

    The first ``ahead`` of those who wait are let in already, for the threads to have their next work at hand: where
    they wait for the event loop and it has a crowd to refuse, the networks stand idle.
    """

    def __init__(self, name: str, *, slots: int, queue: int, ahead: int = 0) -> None:
        self._name = name
        self._slots = slots
        self._queue = queue
        self._free = asyncio.Semaphore(slots + min(ahead, queue))
        self._outside = self._inside = self._shown = 0
        self._pace = _FIRST_GUESS / slots
        """Seconds from the end of one piece of work to the next."""
        QUEUE_DEPTH.labels(name)  # shown as 0 before anybody has had to wait

    @property
    def waiting(self) -> int:
        """How many wait now."""
        return self._outside + max(0, self._inside - self._slots)

    @property
    def inside(self) -> int:
        """How many have been let in."""
        return self._inside

    @property
    def full(self) -> bool:
        """Whether the next one would be refused."""
        return self.waiting >= self._queue

    def retry_after(self) -> float:
        """Seconds until half of today's queue has drained, by the time that work took lately."""
        return (self.waiting / 2 + 1) * self._pace

    def refusal(self) -> Overloaded:
        """What the next one is told where the queue is full."""
        return Overloaded(
            f"{self.waiting} images wait for model {self._name}, which is as many as may. Try again later.",
            self.retry_after(),
        )

    @asynccontextmanager
    async def enter(self, deadline: float) -> AsyncIterator[float]:
        """Wait for a place and hold it; gives the seconds waited.

        Raises ``Overloaded`` at once where the queue is full, and ``TimedOut`` where ``deadline``
        (``time.monotonic``) passes first: what has expired is never run.
        """
        if self.full:
            raise self.refusal()
        began = time.monotonic()
        if began >= deadline:
            raise self.timed_out()
        if self._free.locked():
            await self._wait(deadline - began)
        else:
            await self._free.acquire()
        started = time.monotonic()
        self._inside += 1
        self._show()
        try:
            yield started - began
        finally:
            pace = (time.monotonic() - started) / self._inside
            self._pace += _SMOOTHING * (pace - self._pace)
            self._inside -= 1
            self._show()
            self._free.release()

    async def _wait(self, seconds: float) -> None:
        self._outside += 1
        self._show()
        try:
            async with asyncio.timeout(seconds):
                await self._free.acquire()
        except TimeoutError:
            raise self.timed_out() from None
        finally:
            self._outside -= 1

    def _show(self) -> None:
        """In steps, since the variants of a model share the gauge."""
        if more := self.waiting - self._shown:
            QUEUE_DEPTH.labels(self._name).inc(more)
            self._shown += more

    def timed_out(self) -> TimedOut:
        """What somebody is told whose time was over before anything ran."""
        return TimedOut(
            f"No answer from model {self._name} within the time limit. Try again later, or send fewer images at once."
        )


class RenderQueue:
    """Runs drawing work in a few threads of its own, within bounds on memory, first come first served.

    Decoding an image to show it takes up to 16 bytes a pixel (WebP), so the pixels of what runs at once are bounded,
    as are the arrays held by what waits. One piece of work always fits, however large.
    """

    def __init__(self, *, threads: int, queue: int, max_pixels: int, max_held: int = MAX_HELD_BYTES) -> None:
        self._executor = ThreadPoolExecutor(threads, "catseye-render")
        self._threads, self._queue = threads, queue
        self._max_pixels, self._max_held = max_pixels, max_held
        self._running = self._pixels = self._held = 0
        self._waiting: deque[tuple[asyncio.Future[None], int]] = deque()

    async def run(self, work: Callable[[], T], *, deadline: float, pixels: int = 0, held: int = 0) -> T:
        """What ``work`` returns or raises; see ``Pipeline.render``."""
        if len(self._waiting) >= self._queue or (self._held and self._held + held > self._max_held):
            raise Overloaded(f"{len(self._waiting)} pictures wait to be drawn, which is the limit. Try again later.")
        if time.monotonic() >= deadline:
            raise _picture_timed_out()
        self._held += held
        try:
            await self._turn(pixels, deadline)
        except BaseException:
            self._held -= held
            raise
        running = asyncio.get_running_loop().run_in_executor(self._executor, work)
        # The thread goes on where the client has left: the memory is free when it has ended, not before.
        running.add_done_callback(lambda _: self._leave(pixels, held))
        return await asyncio.shield(running)

    def close(self) -> None:
        """Wait for what runs, and end the threads."""
        self._executor.shutdown()

    async def _turn(self, pixels: int, deadline: float) -> None:
        """Wait until the work may run, and count it as running."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((turn, pixels))
        self._admit()
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():  # it was admitted at the same moment
                self._running -= 1
                self._pixels -= pixels
            else:
                self._waiting = deque(entry for entry in self._waiting if entry[0] is not turn)
            self._admit()
            if isinstance(error, TimeoutError):
                raise _picture_timed_out() from None
            raise

    def _leave(self, pixels: int, held: int) -> None:
        self._running -= 1
        self._pixels -= pixels
        self._held -= held
        self._admit()

    def _admit(self) -> None:
        """Let in from the front of the line what fits."""
        while self._waiting and self._running < self._threads:
            turn, pixels = self._waiting[0]
            if turn.cancelled():  # the client has left, and its task has not run since
                self._waiting.popleft()
                continue
            if self._running and self._pixels + pixels > self._max_pixels:
                return
            self._waiting.popleft()
            self._running += 1
            self._pixels += pixels
            turn.set_result(None)


def _picture_timed_out() -> TimedOut:
    return TimedOut("No picture within the time limit. Try again later.")
