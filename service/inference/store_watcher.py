"""Checks the store for new versions at an interval, and logs a failure once and the recovery once."""

import logging
import threading
from collections.abc import Callable

from models.errors import StoreError

logger = logging.getLogger("catseye")


class StoreWatcher:
    """Calls ``check`` every so many seconds in a thread of its own, whatever it raises."""

    def __init__(self, check: Callable[[], object], seconds: float) -> None:
        self._check, self._seconds = check, seconds
        self._stopped = threading.Event()
        self._failure = ""

    def start(self) -> None:
        """Check from now on."""
        threading.Thread(target=self._run, name="catseye-store", daemon=True).start()

    def stop(self) -> None:
        """Check no more."""
        self._stopped.set()

    def check(self) -> None:
        """Check once."""
        try:
            self._check()
        except Exception as error:
            failure = error.detail if isinstance(error, StoreError) else repr(error)
            if failure != self._failure:
                # A StoreError says everything in its sentence; anything else needs its traceback.
                unexpected = None if isinstance(error, StoreError) else error
                logger.error("Loaded models keep serving. %s", failure, exc_info=unexpected)
            self._failure = failure
        else:
            if self._failure:
                logger.info("The store can be read again.")
            self._failure = ""

    def _run(self) -> None:
        while not self._stopped.wait(self._seconds):
            self.check()
