"""A pool of threads for an event loop: one queue there, one wake-up back, and nothing else.

``concurrent.futures`` makes two futures with a lock and a condition for each piece of work; at a thousand pieces per
second that costs measurable throughput.
"""

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")
Cancelled = Callable[[], bool]
"""Whether nobody waits for the result any more."""


class ThreadPool:
    """At least ``threads`` daemon threads that run what ``run`` is given, first come first served."""

    def __init__(self, threads: int, name: str = "catseye") -> None:
        self._name = name
        self._jobs: queue.SimpleQueue[tuple[asyncio.Future[Any], Callable[[Cancelled], Any]] | None]
        self._jobs = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._closed = False
        self.grow(threads)

    def grow(self, threads: int) -> None:
        """Have at least so many threads."""
        with self._lock:
            for number in range(len(self._threads), threads):
                thread = threading.Thread(target=self._serve, name=f"{self._name}-{number}", daemon=True)
                self._threads.append(thread)
                thread.start()

    async def run(self, work: Callable[[Cancelled], T]) -> T:
        """What ``work`` returns or raises, from one of the threads.

        Cancelled before it has begun, it is not run; later ``work`` can ask the function that it is given.
        """
        if self._closed:
            raise RuntimeError("the thread pool is closed")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._jobs.put((future, work))
        return await future

    def close(self) -> None:
        """End the threads once all work is done."""
        with self._lock:
            self._closed = True
            for _ in self._threads:
                self._jobs.put(None)
            for thread in self._threads:
                thread.join()
            self._threads.clear()

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            future, work = job
            if future.cancelled():
                continue
            result, error = None, None
            try:
                result = work(future.cancelled)
            except BaseException as caught:  # it belongs to the caller, not to this thread
                error = caught
            with suppress(RuntimeError):  # the loop was closed meanwhile, so nobody waits
                future.get_loop().call_soon_threadsafe(_settle, future, result, error)
            # A reference held until the next job would keep its image alive for as long.
            del job, future, work, result, error


def _settle(future: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    elif isinstance(error, StopIteration):  # which a future refuses to carry
        future.set_exception(RuntimeError("work raised StopIteration"))
    else:
        future.set_exception(error)
