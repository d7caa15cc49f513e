"""Processes that end with the one that started them, even where that one was killed without a word (Linux)."""

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Final

from service.process.drain import REFUSING_SECONDS, Drain

_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h


def end_with_parent(number: signal.Signals) -> bool:
    """Have a signal sent to this process when the thread that started it ends (prctl(2)); False where none can be.

    Call it in a thread that lives as long as the process.
    """
    return sys.platform == "linux" and bool(_libc().prctl(_PR_SET_PDEATHSIG, int(number)) == 0)


def leave_with_parent(drain: Drain) -> None:
    """As a worker, leave when the supervisor has ended, as if it had been asked to: new work is refused in words first.

    Call it in the event loop.
    """
    loop = asyncio.get_running_loop()

    def leave() -> None:
        drain.begin(0)
        loop.call_later(REFUSING_SECONDS, os.kill, os.getpid(), signal.SIGTERM)

    with suppress(ValueError, RuntimeError):  # not in the main thread, which no server of ours does
        loop.add_signal_handler(signal.SIGUSR2, leave)
        end_with_parent(signal.SIGUSR2)


def for_a_child() -> Callable[[], None]:
    """What a child calls between fork and exec, so that it is killed when this process ends."""
    parent = os.getpid()
    _libc()  # now, since a child should do little before its exec

    def set_up() -> None:
        if (
            end_with_parent(signal.SIGKILL) and os.getppid() != parent
        ):  # which ended before the signal could be asked for
            os._exit(1)

    return set_up


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)
