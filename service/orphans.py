"""A process that ends with the one that started it, even where that one was killed without a word (Linux)."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from functools import cache
from typing import Final

_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h


def end_with_parent() -> bool:
    """Have SIGTERM sent to this process when the thread that started it ends (prctl(2)); False where none can be.

    Call it in a thread that lives as long as the process.
    """
    return sys.platform == "linux" and bool(_libc().prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM)) == 0)


def for_a_child() -> Callable[[], None]:
    """What a child calls between fork and exec, so that it ends with this process."""
    parent = os.getpid()
    _libc()  # now, since a child should do little before its exec

    def set_up() -> None:
        if end_with_parent() and os.getppid() != parent:  # which ended before the signal could be asked for
            os._exit(1)

    return set_up


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)
