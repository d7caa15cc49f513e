"""Waiting for something that another thread or process does."""

import time
from collections.abc import Callable
from typing import TypeVar

import httpx

T = TypeVar("T")


def wait_for(what: str, holds: Callable[[], T], seconds: float = 60) -> T:
    """What ``holds()`` gives once that is true; errors of a connection count as not yet."""
    end = time.monotonic() + seconds
    while True:
        try:
            if found := holds():
                return found
        except (httpx.HTTPError, OSError):
            pass
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {seconds} s")
        time.sleep(0.05)


def seconds_until(holds: Callable[[], object], seconds: float = 60) -> float | None:
    """How many seconds it took until ``holds()`` was true; None if it was not within ``seconds``."""
    began = time.monotonic()
    try:
        wait_for("", holds, seconds)
    except AssertionError:
        return None
    return time.monotonic() - began
