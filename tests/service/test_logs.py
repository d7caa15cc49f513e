import io
import logging
import os
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest

from service.logs import BufferedHandler


def test_our_lines_are_written_whatever_bentoml_has_set_up():
    code = """
import logging
from bentoml._internal.log import configure_server_logging
from service.logs import write_log_lines
logging.getLogger("catseye").info("too early")
configure_server_logging()
logging.getLogger("catseye").info("turned off")
write_log_lines()
write_log_lines()
logging.getLogger("catseye").info("once")
logging.getLogger("catseye.access").info("again")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["once", "again"]


def test_odd_bytes_of_a_form_are_not_logged():
    from service.logs import write_log_lines

    before = logging.getLogger("catseye").propagate
    try:
        write_log_lines()
        assert not logging.getLogger("python_multipart").isEnabledFor(logging.WARNING)
    finally:
        for name in ("catseye", "catseye.access"):
            logger = logging.getLogger(name)
            logger.propagate = before
            logger.handlers.clear()
            logger.setLevel(logging.NOTSET)


class Slow(io.StringIO):
    """A stream that says how often it was written to, and may be held."""

    def __init__(self):
        super().__init__()
        self.writes, self.free = 0, threading.Event()
        self.free.set()

    def write(self, text):
        self.free.wait(10)
        self.writes += 1
        return super().write(text)


@pytest.fixture
def lines():
    stream = Slow()
    logger = logging.Logger("lines", logging.INFO)
    logger.addHandler(BufferedHandler(stream))
    yield logger, stream
    stream.free.set()


def test_lines_are_written_together_and_in_order(lines):
    logger, stream = lines
    stream.free.clear()  # the first one may be on its way already, and the others gather behind it
    for number in range(500):
        logger.info("%d", number)
    stream.free.set()
    until = time.monotonic() + 10
    while stream.getvalue().count("\n") < 500 and time.monotonic() < until:
        time.sleep(0.01)
    assert stream.getvalue().split() == [str(number) for number in range(500)]
    assert stream.writes <= 3


def test_a_warning_is_written_at_once_with_the_lines_before_it(lines):
    logger, stream = lines
    logger.info("before")
    logger.warning("now")
    assert stream.getvalue().split() == ["before", "now"]


def test_logging_blocks_and_loses_nothing_where_the_stream_is_not_read(lines, monkeypatch):
    logger, stream = lines
    monkeypatch.setattr("service.logs._MAX_LINES", 10)
    stream.free.clear()
    writer = threading.Thread(target=lambda: [logger.info("%d", number) for number in range(100)])
    writer.start()
    writer.join(0.3)
    assert writer.is_alive()
    stream.free.set()
    writer.join(10)
    logger.handlers[0].flush()
    assert stream.getvalue().split() == [str(number) for number in range(100)]


def test_a_closed_stream_raises_nothing():
    stream = Slow()
    logger = logging.Logger("gone", logging.INFO)
    logger.addHandler(BufferedHandler(stream))
    stream.close()
    logger.info("lost")
    logger.warning("lost too, and no error of whoever warns")
    logger.handlers[0].flush()


def test_lines_are_written_where_sleep_raises_as_under_libfaketime():
    code = """
import logging, sys, threading, time
from service.logs import write_log_lines
def sleep(seconds):
    raise OSError(22, "Invalid argument")
time.sleep = sleep
write_log_lines()
logging.getLogger("catseye").info("first")
threading.Event().wait(1)
print("later", flush=True)
logging.getLogger("catseye").info("second")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["first", "later", "second"], done.stderr


def test_lines_of_several_workers_stay_whole_in_one_pipe():
    """Longer writes than a pipe takes at once would be cut, and another worker's lines put between."""
    code = """
import logging, sys
from service.logs import BufferedHandler
logger = logging.getLogger("workers")
logger.setLevel(logging.INFO)
logger.addHandler(BufferedHandler(sys.stdout))
for number in range(20_000):
    logger.info("%s", sys.argv[1] * 300)
"""
    reading, writing = os.pipe()
    writers = [subprocess.Popen([sys.executable, "-c", code, letter], stdout=writing) for letter in "ab"]
    os.close(writing)
    with os.fdopen(reading, encoding="ascii") as pipe:
        lines = Counter(pipe)
    assert [writer.wait(60) for writer in writers] == [0, 0]
    assert lines == {f"{'a' * 300}\n": 20_000, f"{'b' * 300}\n": 20_000}
