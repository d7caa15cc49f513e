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
    """Lets ``slots`` pieces of work run at once and ``queue`` wait, first come first served."""

    def __init__(self, name: str, *, slots: int, queue: int) -> None:
        self._name = name
        self._slots = slots
        self._queue = queue
        self._free = asyncio.Semaphore(slots)
        self._waiting = 0
        self._inside = 0
        self._seconds = _FIRST_GUESS
        QUEUE_DEPTH.labels(name)  # shown as 0 before anybody has had to wait

    @property
    def waiting(self) -> int:
        """How many wait now."""
        return self._waiting

    @property
    def inside(self) -> int:
        """How many hold a slot now."""
        return self._inside

    @property
    def full(self) -> bool:
        """Whether the next one would be refused."""
        return self._waiting >= self._queue

    def retry_after(self) -> float:
        """Seconds until half of today's queue has drained, by the time that work took lately."""
        return (self._waiting / 2 + 1) * self._seconds / self._slots

    @asynccontextmanager
    async def enter(self, deadline: float) -> AsyncIterator[float]:
        """Wait for a slot and hold it; gives the seconds waited.

        Raises ``Overloaded`` at once where the queue is full, and ``TimedOut`` where ``deadline``
        (``time.monotonic``) passes first: what has expired is never run.
        """
        if self.full:
            raise Overloaded(
                f"{self._waiting} images wait for model {self._name}, which is as many as may. Try again later.",
                self.retry_after(),
            )
        began = time.monotonic()
        if began >= deadline:
            raise self._timed_out()
        if self._free.locked():
            await self._wait(deadline - began)
        else:
            await self._free.acquire()
        started = time.monotonic()
        self._inside += 1
        try:
            yield started - began
        finally:
            self._inside -= 1
            self._free.release()
            self._seconds += _SMOOTHING * (time.monotonic() - started - self._seconds)

    async def _wait(self, seconds: float) -> None:
        self._waiting += 1
        QUEUE_DEPTH.labels(self._name).inc()
        try:
            async with asyncio.timeout(seconds):
                await self._free.acquire()
        except TimeoutError:
            raise self._timed_out() from None
        finally:
            self._waiting -= 1
            QUEUE_DEPTH.labels(self._name).dec()

    def _timed_out(self) -> TimedOut:
        return TimedOut(
            f"No answer from model {self._name} within the time limit. Try again later, or send fewer images at once."
        )
