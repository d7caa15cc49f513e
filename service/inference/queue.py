"""A bounded queue before each model: who waits, who is refused, and for how long to stay away."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from models.errors import Overloaded, TimedOut
from service.metrics import QUEUE_DEPTH

_SMOOTHING = 0.1
_FIRST_GUESS = 0.05


class Gate:
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
