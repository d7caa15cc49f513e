"""Bounded queues: images that wait for a model, and drawing work that waits for a thread."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from models.errors import Overloaded, TimedOut
from service.metrics import QUEUE_DEPTH

T = TypeVar("T")

MAX_HELD_BYTES: Final = 256_000_000
"""Most bytes of feature maps and other arrays that drawing work holds, waiting or running."""
_SMOOTHING = 0.1
_FIRST_GUESS = 0.05


class AdmissionQueue:
    """Lets ``slots`` images of a model be worked on at once and ``queue`` wait, first come first served.

    The first ``prefetch`` of those that wait are admitted already, so that a thread has its next image at hand: if it
    had to wait for the event loop while that refuses other requests, the network would be idle.
    """

    def __init__(self, name: str, *, slots: int, queue: int, prefetch: int = 0) -> None:
        self._name = name
        self._slots = slots
        self._queue = queue
        self._free = asyncio.Semaphore(slots + min(prefetch, queue))
        self._blocked = self._admitted = self._shown = 0
        self._pace = _FIRST_GUESS / slots
        """Seconds from the end of one image to the next."""
        QUEUE_DEPTH.labels(name)  # so that it is shown as 0 before anything has waited

    @property
    def waiting(self) -> int:
        """How many images wait now."""
        return self._blocked + max(0, self._admitted - self._slots)

    @property
    def admitted(self) -> int:
        """How many images are worked on or prefetched."""
        return self._admitted

    @property
    def full(self) -> bool:
        """Whether the next image would be refused."""
        return self.waiting >= self._queue

    def retry_after(self) -> float:
        """Seconds until half of the queue has drained, at the pace of the last images."""
        return (self.waiting / 2 + 1) * self._pace

    def refusal(self) -> Overloaded:
        """The error of a request that finds the queue full."""
        return Overloaded(
            f"{self.waiting} images wait for model {self._name}, which is the limit. Try again later.",
            self.retry_after(),
        )

    def timed_out(self) -> TimedOut:
        """The error of a request whose deadline passed before its image was run."""
        return TimedOut(
            f"No answer from model {self._name} within the time limit. Try again later, or send fewer images at once."
        )

    @asynccontextmanager
    async def enter(self, deadline: float) -> AsyncIterator[None]:
        """Wait for a slot and hold it.

        Raises ``Overloaded`` at once where the queue is full, and ``TimedOut`` where ``deadline``
        (``time.monotonic()``) passes first: expired work is never run.
        """
        if self.full:
            raise self.refusal()
        if (now := time.monotonic()) >= deadline:
            raise self.timed_out()
        if self._free.locked():
            await self._wait(deadline - now)
        else:
            await self._free.acquire()
        started = time.monotonic()
        self._admitted += 1
        self._show()
        try:
            yield
        finally:
            pace = (time.monotonic() - started) / self._admitted
            self._pace += _SMOOTHING * (pace - self._pace)
            self._admitted -= 1
            self._show()
            self._free.release()

    async def _wait(self, seconds: float) -> None:
        self._blocked += 1
        self._show()
        try:
            async with asyncio.timeout(seconds):
                await self._free.acquire()
        except BaseException as error:
            self._blocked -= 1
            self._show()
            if isinstance(error, TimeoutError):
                raise self.timed_out() from None
            raise
        self._blocked -= 1

    def _show(self) -> None:
        """Update the gauge by the difference, since the variants of a model share it."""
        if more := self.waiting - self._shown:
            QUEUE_DEPTH.labels(self._name).inc(more)
            self._shown += more


class RenderQueue:
    """Runs drawing work in a few threads of its own, within bounds on memory, first come first served.

    Decoding an image to show it takes up to 16 bytes a pixel (WebP), so the pixels decoded at once are bounded, as are
    the arrays held by all work that waits or runs. One piece of work is always accepted, however large.
    """

    def __init__(self, *, threads: int, queue: int, max_pixels: int, max_held: int = MAX_HELD_BYTES) -> None:
        self._executor = ThreadPoolExecutor(threads, "catseye-render")
        self._threads, self._queue = threads, queue
        self._max_pixels, self._max_held = max_pixels, max_held
        self._waiting = self._running = self._pixels = self._held = 0
        self._first_in_line = asyncio.Lock()
        self._freed = asyncio.Event()

    async def run(self, work: Callable[[], T], *, deadline: float, pixels: int, held: int = 0) -> T:
        """What ``work`` returns or raises; see ``Pipeline.render``."""
        if self._waiting >= self._queue or (self._held and self._held + held > self._max_held):
            raise Overloaded(f"{self._waiting} pictures wait to be drawn, which is the limit. Try again later.")
        self._waiting += 1
        self._held += held
        try:
            await self._turn(deadline, pixels)
        except BaseException:
            self._held -= held
            raise
        finally:
            self._waiting -= 1
        running = asyncio.get_running_loop().run_in_executor(self._executor, work)
        # A thread goes on when the client leaves, so its memory is free only when it has ended.
        running.add_done_callback(lambda _: self._leave(pixels, held))
        return await asyncio.shield(running)

    def close(self) -> None:
        """Wait for what runs, and end the threads."""
        self._executor.shutdown()

    async def _turn(self, deadline: float, pixels: int) -> None:
        """Wait until there is a thread and memory, and take both."""
        try:
            async with asyncio.timeout_at(deadline):  # the loop's time is ``time.monotonic()``
                if time.monotonic() >= deadline:
                    raise TimeoutError
                async with self._first_in_line:
                    while self._running and not self._fits(pixels):
                        self._freed.clear()
                        await self._freed.wait()
                    self._running += 1
                    self._pixels += pixels
        except TimeoutError:
            raise TimedOut("No picture within the time limit. Try again later.") from None

    def _fits(self, pixels: int) -> bool:
        return self._running < self._threads and self._pixels + pixels <= self._max_pixels

    def _leave(self, pixels: int, held: int) -> None:
        self._running -= 1
        self._pixels -= pixels
        self._held -= held
        self._freed.set()
