"""How the access log and our other log lines leave a worker."""

import atexit
import logging
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from select import PIPE_BUF
from typing import Final, TextIO

_NAMES: Final = ("catseye", "catseye.access")
_INTERVAL_SECONDS: Final = 0.05
_MAX_LINES: Final = 10_000


class BufferedHandler(logging.StreamHandler[TextIO]):
    """Writes lines in batches from a thread of its own; a warning is written at once, with all lines before it.

    To write, a thread releases the interpreter and has to wait for it again, which the event loop would do for every
    request. ``logging.handlers.QueueHandler`` wakes a thread for every line, which lowered throughput by 15 %
    at 16 connections. Where the stream is not read, logging blocks once ``_MAX_LINES`` lines wait;
    where it is closed or the disk is full, lines are lost.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._lines: deque[str] = deque()
        self._due = threading.Event()
        self._writing = threading.Lock()
        atexit.register(self.flush)  # logging forgets its handlers where BentoML sets it up
        threading.Thread(target=self._write_batches, name="catseye-log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record."""
        try:
            self._lines.append(self.format(record) + self.terminator)
        except Exception:
            self.handleError(record)
            return
        if record.levelno >= logging.WARNING or len(self._lines) > _MAX_LINES:
            self.flush()
        elif not self._due.is_set():
            self._due.set()

    def flush(self) -> None:
        """Write every line that waits."""
        with self._writing, suppress(OSError, ValueError):
            for batch in _batches([self._lines.popleft() for _ in range(len(self._lines))]):
                self.stream.write(batch)
                self.stream.flush()

    def _write_batches(self) -> None:
        # Never set. ``time.sleep`` raises where libfaketime sets the clock, as ``tests.chaos.clock`` has it do.
        pause = threading.Event()
        while self._due.wait():
            pause.wait(_INTERVAL_SECONDS)
            self._due.clear()
            self.flush()


def _batches(lines: Iterable[str]) -> Iterator[str]:
    """The lines, joined up to what a pipe takes in one piece: all workers write to one, and more could be mixed."""
    batch, size = "", 0
    for line in lines:
        more = len(line.encode(errors="replace"))
        if batch and size + more > PIPE_BUF:
            yield batch
            batch, size = "", 0
        batch += line
        size += more
    if batch:
        yield batch


def write_log_lines() -> None:
    """Have our own lines go to standard output as they are, whatever BentoML's logging is set to."""
    handlers = logging.getLogger(_NAMES[0]).handlers or [BufferedHandler(sys.stdout)]  # one for both keeps the order
    for name in _NAMES:
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO)
        logger.propagate = False
        logger.disabled = False
        logger.addHandler(handlers[0])  # does nothing where it has it
    # It warns of every odd byte of a broken form: a client could fill the disk with lines that help nobody.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)


def flush_log_lines() -> None:
    """Write what waits; for a worker that leaves, since a signal ends it in the end and Python does not."""
    for handler in logging.getLogger(_NAMES[0]).handlers:
        handler.flush()
