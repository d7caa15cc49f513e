"""Tells a worker that hangs from one that is busy (docs/decisions/0004).

Silence is counted in looks of the supervisor, not in seconds of any clock: where the whole machine slept, or all
processes were stopped, every process goes on together. A look counts only as far as the worker was not waiting for a
processor meanwhile: a busy one on an overloaded machine may be silent for long.
"""

import math
from contextlib import suppress
from pathlib import Path
from typing import Final

LOOK_SECONDS: Final = 1.0


class Watchdog:
    """Counts for how long one worker has sent no heartbeat; one that is still starting has sent none and is spared."""

    def __init__(self, pid: int, seconds: float) -> None:
        """``seconds`` of silence mean that the worker hangs; 0 for never."""
        self._pid = pid
        self._limit = max(2, round(seconds / LOOK_SECONDS)) if seconds else math.inf
        self._waited: dict[str, int] = {}
        self._heard = False
        self.ready = False
        """Whether a heartbeat has ever come."""
        self.silent = 0.0
        """Seconds without a heartbeat during which the worker could run."""

    def heard(self) -> None:
        """A heartbeat has come."""
        self._heard = self.ready = True

    def look(self) -> bool:
        """Look once, ``LOOK_SECONDS`` after the last time; whether the worker hangs."""
        if not self.ready:
            return False
        waited = self._waiting_seconds()
        self.silent = 0.0 if self._heard else self.silent + max(0.0, LOOK_SECONDS - waited)
        self._heard = False
        return self.silent >= self._limit * LOOK_SECONDS

    def _waiting_seconds(self) -> float:
        """Seconds since the last look that the worker's threads were ready and had no processor, in all (Linux)."""
        before, self._waited = self._waited, {}
        for file in Path("/proc").glob(f"{self._pid}/task/*/schedstat"):
            with suppress(OSError):  # the thread has ended
                # Nanoseconds on a processor, nanoseconds ready for one, and how often (the kernel's sched-stats).
                self._waited[file.parent.name] = int(file.read_text().split()[1])
        return sum(waited - before.get(name, waited) for name, waited in self._waited.items()) / 1e9
