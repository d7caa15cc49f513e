"""Python's search for garbage, which stops all threads of a worker, kept from what was there when it was ready.

It looks at all that is loaded: a tenth of a second with OpenVINO, seen every 4 to 8 seconds under load, and 0.4
seconds with TensorFlow, where one search was timed (``docs/decisions/0029``). What is left out goes all the same once
nothing refers to it, as OpenVINO's networks do. A Keras network refers to itself and is only found by a search.
"""

import gc
from collections.abc import Callable


class Garbage:
    """Looks for garbage among what is new, and among all once, some time after networks have come or gone."""

    def __init__(self, changes: Callable[[], int]) -> None:
        """``changes`` tells how many networks have come or gone that only a search gives back."""
        self._changes = changes
        self._known = changes()
        self._due = False

    def begin(self) -> None:
        """Search from now on, in what comes from now on."""
        gc.freeze()
        gc.enable()

    def look(self) -> None:
        """Search all if it is time; call it now and then.

        A network that went is held by the last requests that found it, so its time is the next call.
        """
        if self._due:
            gc.unfreeze()
            gc.collect()
            gc.freeze()
        now = self._changes()
        self._due, self._known = now != self._known, now
