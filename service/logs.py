"""How our own log lines leave a worker."""

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
_SECONDS: Final = 0.05
_MOST: Final = 10_000


class Gathered(logging.StreamHandler[TextIO]):
    """Writes lines a little later and several at once; a warning takes all that wait along at once.

    To write, a thread gives the interpreter away and has to wait for it again, which the event loop would do for
    every request. (``logging.handlers`` gathers records too, and then writes each by itself.) Where nobody reads the
    stream, whoever logs waits as soon as ``_MOST`` lines do; where it is gone, or the disk is full, lines are lost.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._lines: deque[str] = deque()
        self._due = threading.Event()
        self._writing = threading.Lock()
        atexit.register(self.flush)  # logging forgets its handlers where BentoML sets it up
        threading.Thread(target=self._write_in_turn, name="catseye-log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record."""
        try:
            self._lines.append(self.format(record) + self.terminator)
        except Exception:
            self.handleError(record)
            return
        if record.levelno >= logging.WARNING or len(self._lines) > _MOST:
            self.flush()
        elif not self._due.is_set():
            self._due.set()

    def flush(self) -> None:
        """Write every line that waits."""
        with self._writing, suppress(OSError, ValueError):
            for part in _parts([self._lines.popleft() for _ in range(len(self._lines))]):
                self.stream.write(part)
                self.stream.flush()

    def _write_in_turn(self) -> None:
        # Never set. ``time.sleep`` raises where libfaketime sets the clock, as ``tests.chaos.clock`` has it do.
        pause = threading.Event()
        while self._due.wait():
            pause.wait(_SECONDS)
            self._due.clear()
            self.flush()


def _parts(lines: Iterable[str]) -> Iterator[str]:
    """The lines, joined as far as a pipe takes them at once: all workers write to one, and more may be cut."""
    part: list[str] = []
    size = 0
    for line in lines:
        more = len(line.encode(errors="replace"))
        if part and size + more > PIPE_BUF:
            yield "".join(part)
            part, size = [], 0
        part.append(line)
        size += more
    if part:
        yield "".join(part)


def write_log_lines() -> None:
    """Have our own lines go to standard output as they are, whatever BentoML's logging is set to."""
    for name in _NAMES:
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO)
        logger.propagate = False
        logger.disabled = False
    if not logging.getLogger(_NAMES[0]).handlers:
        handler = Gathered(sys.stdout)  # one for both, which keeps their order
        for name in _NAMES:
            logging.getLogger(name).addHandler(handler)
    # It warns of every odd byte of a broken form: a stranger could fill the disk with lines that help nobody.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)


def flush_log_lines() -> None:
    """Write what waits; for a worker that leaves, since a signal ends it in the end and Python does not."""
    for handler in logging.getLogger(_NAMES[0]).handlers:
        handler.flush()
