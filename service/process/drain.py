"""The way out: first unready, then closed, told to every worker through a file.

BentoML's workers stop accepting at SIGTERM without a word to the load balancer. ``catseye serve`` therefore
catches the signal, writes the file named here, waits, and only then passes the signal on. The file says when by
``time.monotonic``, which all processes of a machine share and which no setting of the clock moves.
"""

import os
import time
from pathlib import Path
from typing import Final

VARIABLE = "CATSEYE_DRAIN_FILE"
REFUSING_SECONDS: Final = 0.5
"""How long new work is answered 503 before the listening socket goes quiet."""
_LOOK_SECONDS = 0.1


class Drain:
    """Whether this server is on its way out, and since when it takes no more work."""

    def __init__(self, path: Path | None = None) -> None:
        named = os.environ.get(VARIABLE)
        self._path = path or (Path(named) if named else None)
        self._closes: float | None = None
        self._looked = 0.0

    def draining(self) -> bool:
        """Whether ``/readyz`` is 503; work is still taken."""
        return self._deadline() is not None

    def closed(self) -> bool:
        """Whether new work is refused."""
        closes = self._deadline()
        return closes is not None and time.monotonic() >= closes

    def begin(self, seconds: float) -> None:
        """Be unready from now on and closed in so many seconds."""
        closes = time.monotonic() + seconds
        if self._path is not None:
            scratch = self._path.with_suffix(f".{os.getpid()}")
            try:
                scratch.write_text(str(closes))
                scratch.replace(self._path)
            except OSError:  # the others cannot be told: the disk is full, or the folder is gone
                self._closes = closes
            self._looked = 0.0
        else:
            self._closes = closes

    def _deadline(self) -> float | None:
        now = time.monotonic()
        if self._closes is None and self._path is not None and now - self._looked >= _LOOK_SECONDS:
            self._looked = now
            try:
                self._closes = float(self._path.read_text())
            except (OSError, ValueError):  # not there; or it cannot be opened now, for want of a descriptor for one
                self._closes = None
        return self._closes
