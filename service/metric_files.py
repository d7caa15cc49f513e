"""The files that worker processes keep their metrics in, as prometheus_client's multiprocess mode makes them."""

import os
from typing import Any, Final

from prometheus_client import mmap_dict, values

BYTES: Final = 1 << 20
"""Length of a new file, nearly all of it a hole: no set of labels of this service comes near it."""


def keep_growing() -> None:
    """Make new files long enough, and let one grow later that could not before; call it before there is a metric.

    To grow, a file is mapped anew, which takes a file descriptor. Where a process has none left, prometheus_client
    (0.26) remembers the new length for the old mapping, and every new label then fails until the process ends: its
    requests with it.
    """
    library: Any = mmap_dict  # it has neither a hook nor a setting for this
    made = library.MmapedDict._init_value

    def init_value(values: Any, key: str) -> None:
        values._capacity = len(values._m)
        made(values, key)

    library.MmapedDict._init_value = init_value
    library._INITIAL_MMAP_SIZE = BYTES


def know_the_process() -> None:
    """Ask the system for this process's number once, not at every count; call it before there is a metric.

    A request counts some twenty times, and the question is a call into the system each time.
    """
    if not values.ValueClass._multiprocess:
        return
    number = os.getpid()

    def ask() -> None:
        nonlocal number
        number = os.getpid()

    os.register_at_fork(after_in_child=ask)
    values.ValueClass = values.MultiProcessValue(lambda: number)  # type: ignore[no-untyped-call]  # documented, untyped
