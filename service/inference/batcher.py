"""Dynamic batching: several images in one run of a network, without delay for an image that is alone.

While a run is in progress, images gather; when it ends, all of them (up to ``max_batch``) run together, so batches grow
with the load. Only where other images are known to be on their way (they are being decoded) does a batch that is not
full wait for them, at most ``wait`` seconds. The threads that bring the images also run the network: the batcher has no
thread of its own.

Every image is decoded and checked before it comes here. If a run fails all the same, its images are run one by one, so
that only the one at fault fails.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from models.arrays import Floats, Pixels

Outputs = dict[str, Floats]
Run = Callable[[Pixels, Sequence[str]], Outputs]
Reason = Literal["full", "timeout", "idle"]
"""Why a batch was run: it was full, it had waited long enough, or no other image was expected."""


def _never() -> bool:
    return False


@dataclass(eq=False)
class _Item:
    pixels: Pixels
    outputs: tuple[str, ...]
    arrived: float
    cancelled: Callable[[], bool]
    wake: threading.Lock = field(default_factory=threading.Lock)
    answer: Outputs | None = None
    error: BaseException | None = None
    waited: float = 0.0
    ran: float = 0.0


class Batcher:
    """Gathers single images for ``run``, which is called by at most ``runs`` threads at once.

    A thread with the right to run is a leader. It takes images from the queue, runs them, and then passes the right on
    to the first image that still waits, which it takes out of the queue in the same step. So a leader always has an
    image of its own to run, and where images wait, ``runs`` leaders are at work.
    """

    def __init__(
        self,
        run: Run,
        *,
        max_batch: int,
        wait: float = 0.0,
        runs: int = 1,
        on_batch: Callable[[int, Reason], None] = lambda size, reason: None,
    ) -> None:
        self._run, self._max_batch, self._wait, self._runs = run, max_batch, wait, runs
        self._on_batch = on_batch
        self._lock = threading.Lock()
        self._arrived = threading.Condition(self._lock)
        self._waiting: deque[_Item] = deque()
        self._leaders = 0
        self._expected = 0

    @property
    def waiting(self) -> int:
        """How many images wait for a batch now."""
        return len(self._waiting)

    def expect(self, more: int) -> None:
        """Announce that so many images are on their way, or (negative) are not any longer."""
        with self._lock:
            self._expected += more
            self._arrived.notify_all()

    def decode_and_run(
        self, decode: Callable[[], Pixels], outputs: Sequence[str], cancelled: Callable[[], bool] = _never
    ) -> tuple[Outputs, dict[str, float]]:
        """As ``run``, of an image that ``decode`` makes and for which a batch may wait; also the seconds by stage."""
        began = time.perf_counter()
        self.expect(1)
        try:
            pixels = decode()
        finally:
            self.expect(-1)
        decoded = time.perf_counter()
        found, waited, ran = self.run(pixels, outputs, cancelled)
        return found, {"decode": decoded - began, "batch_wait": waited, "inference": ran}

    def run(
        self, pixels: Pixels, outputs: Sequence[str], cancelled: Callable[[], bool] = _never
    ) -> tuple[Outputs, float, float]:
        """The outputs for one (height, width, 3) image, without the batch dimension, and two times; blocks.

        These are the seconds that it waited for its batch, and that the batch ran. Raises what the network raises, and
        ``CancelledError`` where ``cancelled`` says that nobody waits for the answer before it has begun to run.
        """
        item = _Item(pixels, tuple(outputs), time.perf_counter(), cancelled)
        item.wake.acquire()
        with self._lock:
            leads = self._leaders < self._runs
            if leads:
                self._leaders += 1
            else:
                self._waiting.append(item)
                self._arrived.notify_all()
        if not leads:
            item.wake.acquire()
        if item.answer is None and item.error is None:
            self._lead(item)
        if item.error is not None:
            raise item.error
        assert item.answer is not None  # noqa: S101 - one of the two is set
        return item.answer, item.waited, item.ran

    def _lead(self, first: _Item) -> None:
        """Run one batch, then make the first image that waits the next leader, if there is one."""
        with self._lock:
            batch, reason = self._collect(first)
        self._answer([item for item in batch if not _dropped(item)], reason)
        with self._lock:
            successor = self._waiting.popleft() if self._waiting else None
            self._leaders -= successor is None
        if successor is not None:
            successor.wake.release()
        for item in batch[1:]:
            item.wake.release()

    def _collect(self, first: _Item) -> tuple[list[_Item], Reason]:
        until = time.perf_counter() + self._wait
        reason: Reason = "idle"
        while len(self._waiting) + 1 < self._max_batch and self._expected > 0 and self._wait:
            left = until - time.perf_counter()
            if left <= 0 or not self._arrived.wait(left):
                reason = "timeout"
                break
        batch = [first]
        # Images of other outputs run in a batch of their own, after this one.
        while self._waiting and len(batch) < self._max_batch and self._waiting[0].outputs == first.outputs:
            batch.append(self._waiting.popleft())
        return batch, "full" if len(batch) == self._max_batch else reason

    def _answer(self, batch: list[_Item], reason: Reason) -> None:
        """Give each item its answer or its error; never raises, since others wait for what comes after."""
        if not batch:
            return
        began = time.perf_counter()
        try:
            self._on_batch(len(batch), reason)
            answers = self._run(np.stack([item.pixels for item in batch]), batch[0].outputs)
            ran = time.perf_counter() - began
            for place, item in enumerate(batch):
                item.waited, item.ran = began - item.arrived, ran
                item.answer = {name: values[place] for name, values in answers.items()}
        except BaseException as error:
            if len(batch) == 1:
                batch[0].error = error
                return
            for item in batch:
                self._answer([item], "idle")


def _dropped(item: _Item) -> bool:
    """Whether nobody waits for this image any more; its own thread is told."""
    if item.cancelled():
        item.error = CancelledError()
    return item.error is not None
