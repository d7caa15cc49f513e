"""Looks at the store again and again, and says once when that fails and once when it succeeds again."""

import logging
import threading
from collections.abc import Callable

from models.errors import StoreError

logger = logging.getLogger("catseye")


class StoreWatcher:
    """Calls ``look`` every so many seconds in a thread of its own, whatever it raises."""

    def __init__(self, look: Callable[[], object], seconds: float) -> None:
        self._look, self._seconds = look, seconds
        self._ended = threading.Event()
        self._trouble = ""

    def begin(self) -> None:
        """Look from now on."""
        threading.Thread(target=self._run, name="catseye-store", daemon=True).start()

    def end(self) -> None:
        """Look no more."""
        self._ended.set()

    def look(self) -> None:
        """Look once."""
        try:
            self._look()
        except Exception as error:
            trouble = error.detail if isinstance(error, StoreError) else repr(error)
            if trouble == self._trouble:
                return
            self._trouble = trouble
            # The traceback of an error of the store's would say no more than its sentence.
            unexpected = None if isinstance(error, StoreError) else error
            logger.error("What is loaded goes on being served. %s", trouble, exc_info=unexpected)
        else:
            if self._trouble:
                logger.info("The store can be looked at again.")
            self._trouble = ""

    def _run(self) -> None:
        while not self._ended.wait(self._seconds):
            self.look()
