"""Ends workers that stand still, so that BentoML's supervisor starts others.

A worker that stands still (stopped, or its event loop held for good) keeps its connections and its place, and nobody
else notices. Workers give signs of life (``service.process.heartbeat``) from when their models are loaded, so one
that starts is never taken for one that hangs. Silence is counted in the watchdog's own looks, not in seconds of any
clock: where the whole machine slept, or everything was stopped, everybody goes on together. And a look counts only as
far as the worker did not stand ready for a processor meanwhile: one that is busy on an overloaded machine may be
silent for long.
"""

import logging
import math
import os
import select
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from service.process.heartbeat import BEAT

_LOOK_SECONDS: Final = 1.0

logger = logging.getLogger("catseye")


class Watchdog:
    """Kills workers that have been silent for ``seconds`` (0 for never) after they gave signs of life.

    These come through the named pipe ``pipe``, which it makes.
    """

    def __init__(self, pipe: Path, seconds: float) -> None:
        os.mkfifo(pipe, 0o600)
        # For both, or it would end with the first worker that closes it.
        self._pipe = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
        self._most = max(2, round(seconds / _LOOK_SECONDS)) if seconds else math.inf
        self._workers: dict[int, _Worker] = {}
        self._ended = threading.Event()
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Watch from now on, in a thread of its own."""
        threading.Thread(target=self._run, name="catseye-watchdog", daemon=True).start()

    def end(self) -> None:
        """Watch no more."""
        self._ended.set()

    def wait_for_workers(self, seconds: float) -> bool:
        """Until every worker has ended, so many seconds at most; whether they have."""
        until = time.monotonic() + seconds
        while (left := self._alive()) and time.monotonic() < until:
            time.sleep(0.05)
        return not left

    def _alive(self) -> bool:
        with self._lock:
            self._hear()
            return not all(worker.ended() for worker in self._workers.values())

    def look(self) -> list[int]:
        """Look once; gives the ids of the processes that it killed."""
        with self._lock:
            return self._look()

    def _hear(self) -> None:
        for pid in self._beats():
            if pid in self._workers:
                self._workers[pid].silent = -1
            else:
                with suppress(ProcessLookupError):  # it has ended since
                    self._workers[pid] = _Worker(pid)

    def _look(self) -> list[int]:
        self._hear()
        killed = []
        for worker in list(self._workers.values()):
            waited = worker.kept_waiting()
            worker.silent += 1 if worker.silent < 0 else max(0.0, 1 - waited / _LOOK_SECONDS)
            if worker.ended():
                self._forget(worker)
            elif worker.silent >= self._most:
                logger.error(
                    "Worker %d gave no sign of life for %d seconds and is killed; another starts. "
                    "CATSEYE_HANG_SECONDS sets how long.",
                    worker.pid,
                    round(worker.silent * _LOOK_SECONDS),
                )
                worker.kill()
                killed.append(worker.pid)
                self._forget(worker)
        return killed

    def _beats(self) -> set[int]:
        """Who gave a sign of life since the last look."""
        found = b""
        with suppress(BlockingIOError):
            while piece := os.read(self._pipe, 4096 * BEAT.size):
                found += piece
        return {pid for (pid,) in BEAT.iter_unpack(found)}

    def _forget(self, worker: "_Worker") -> None:
        worker.close()
        del self._workers[worker.pid]

    def _run(self) -> None:
        while not self._ended.wait(_LOOK_SECONDS):
            self.look()


class _Worker:
    """A process that has given a sign of life."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.silent = -1.0
        """How many looks ago it was heard, without those in which it could not run."""
        self._waited: dict[str, int] = {}
        self._handle: int | None = None
        if hasattr(os, "pidfd_open"):
            try:
                # It names this process even when it has ended and another has its number.
                self._handle = os.pidfd_open(pid)
            except ProcessLookupError:
                raise
            except OSError:  # a sandbox forbids it
                self._handle = None

    def ended(self) -> bool:
        if self._handle is not None:
            return bool(select.select([self._handle], [], [], 0)[0])
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        return False

    def kept_waiting(self) -> float:
        """Seconds since this was last asked that its threads were ready and had no processor, in all (Linux)."""
        before, self._waited = self._waited, {}
        for file in Path("/proc").glob(f"{self.pid}/task/*/schedstat"):
            with suppress(OSError):  # the thread has ended
                # Nanoseconds on a processor, nanoseconds ready for one, and how often (the kernel's sched-stats).
                self._waited[file.parent.name] = int(file.read_text().split()[1])
        return sum(waited - before.get(name, waited) for name, waited in self._waited.items()) / 1e9

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            if self._handle is not None:
                signal.pidfd_send_signal(self._handle, signal.SIGKILL)
            else:
                os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
