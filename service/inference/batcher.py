"""Several images in one run of a network, without a lone one ever waiting for company.

While a run goes on, images gather; when it ends, all of them (up to ``most``) leave together. So batches
grow with the load by themselves. Only where others are known to be on their way (they are being decoded)
may a batch that is not full wait for them, and never longer than ``wait`` seconds. Threads that bring the
images do the running, in turn: there is no thread of the batcher's own, and no hop to it.

Every image is decoded and checked before it comes here. Should a run fail all the same, its images are run
one by one, so that only the culprit fails.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from models.arrays import Floats, Pixels

Outputs = dict[str, Floats]
Run = Callable[[Pixels, Sequence[str]], Outputs]
Reason = Literal["full", "timeout", "idle"]
"""Why a batch left: it was full, it had waited long enough, or nobody else was coming."""


@dataclass(eq=False)
class _Item:
    pixels: Pixels
    outputs: tuple[str, ...]
    came: float
    wake: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    answer: Outputs | None = None
    error: BaseException | None = None
    leads: bool = False
    """It was handed the turn, which it must use or pass on even if its own answer has come meanwhile."""
    waited: float = 0.0
    ran: float = 0.0

    @property
    def done(self) -> bool:
        return self.answer is not None or self.error is not None


class Batcher:
    """Gathers single images for ``run``, of which ``runs`` may go on at once."""

    def __init__(
        self,
        run: Run,
        *,
        most: int,
        wait: float = 0.0,
        runs: int = 1,
        seen: Callable[[int, Reason], None] | None = None,
    ) -> None:
        self._run, self.most, self._wait, self._runs = run, most, wait, runs
        self._seen = seen
        self._lock = threading.Lock()
        self._arrived = threading.Condition(self._lock)
        self._waiting: deque[_Item] = deque()
        self._running = 0
        self._coming = 0

    def coming(self, more: int) -> None:
        """Say that so many images are on their way here, or (negative) will not come after all."""
        with self._lock:
            self._coming += more
            self._arrived.notify_all()

    def bring(self, decode: Callable[[], Pixels], outputs: Sequence[str]) -> tuple[Outputs, dict[str, float]]:
        """As ``run``, of an image that ``decode`` makes first, which the others may wait for; seconds by stage."""
        began = time.perf_counter()
        self.coming(1)
        try:
            pixels = decode()
        finally:
            self.coming(-1)
        decoded = time.perf_counter()
        found, waited, ran = self.run(pixels, outputs)
        return found, {"decode": decoded - began, "batch_wait": waited, "inference": ran}

    def run(self, pixels: Pixels, outputs: Sequence[str]) -> tuple[Outputs, float, float]:
        """The outputs for one (height, width, 3) image, without the batch dimension, and two times.

        These are the seconds that it waited for its batch, and that the batch ran. Blocks.
        """
        item = _Item(pixels, tuple(outputs), time.perf_counter())
        with self._lock:
            self._waiting.append(item)
            self._arrived.notify_all()
            lead = self._running < self._runs
            self._running += lead
        while not item.done:
            if not lead:
                item.wake.acquire()
                with self._lock:
                    lead, item.leads = item.leads, False
            if lead:
                self._lead()
            lead = False
        if item.error is not None:
            raise item.error
        assert item.answer is not None  # noqa: S101 - done, and no error
        return item.answer, item.waited, item.ran

    def _lead(self) -> None:
        """Run one batch, then hand the turn to the first who waits, or give it back."""
        with self._lock:
            batch, reason = self._collect()
        try:
            if batch:
                self._answer(batch, reason)
        finally:
            with self._lock:
                heir = next((item for item in self._waiting if not item.leads), None)
                if heir is not None:
                    heir.leads = True
                    heir.wake.release()
                else:
                    self._running -= 1
            for item in batch:
                item.wake.release()

    def _collect(self) -> tuple[list[_Item], Reason]:
        until = time.perf_counter() + self._wait
        reason: Reason = "idle"
        while len(self._waiting) < self.most and self._coming > 0 and self._wait:
            left = until - time.perf_counter()
            if left <= 0 or not self._arrived.wait(left):
                reason = "timeout"
                break
        if not self._waiting:  # another leader took them
            return [], reason
        wanted = self._waiting[0].outputs
        batch: list[_Item] = []
        # Those who ask for other outputs leave in a batch of their own, after this one.
        while self._waiting and len(batch) < self.most and self._waiting[0].outputs == wanted:
            batch.append(self._waiting.popleft())
        return batch, "full" if len(batch) == self.most else reason

    def _answer(self, batch: list[_Item], reason: Reason) -> None:
        began = time.perf_counter()
        if self._seen is not None:
            self._seen(len(batch), reason)
        try:
            answers = self._run(np.stack([item.pixels for item in batch]), batch[0].outputs)
        except BaseException as error:
            if len(batch) == 1:
                batch[0].error = error
            else:
                for item in batch:
                    self._answer([item], "idle")
            return
        ran = time.perf_counter() - began
        for place, item in enumerate(batch):
            item.waited, item.ran = began - item.came, ran
            item.answer = {name: values[place] for name, values in answers.items()}
