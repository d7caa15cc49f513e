"""Clients that ask again and again."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def keep_asking(ask: Callable[[], T], clients: int = 4) -> Iterator[list[T]]:
    """Call ``ask`` in so many threads while the block runs; what it gave is in the list."""
    ended, answers = threading.Event(), list[T]()

    def client() -> None:
        while not ended.is_set():
            answers.append(ask())

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        ended.set()
        for thread in threads:
            thread.join()
