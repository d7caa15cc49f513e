import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack

import pytest

from service.process.watchdog import Watchdog


@pytest.fixture
def process():
    running = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield running
    running.kill()
    running.wait()


def looks(watchdog, times):
    return [watchdog.look() for _ in range(times)]


def test_silence_is_a_hang_after_its_time_and_not_before(process):
    watchdog = Watchdog(process.pid, seconds=5)
    watchdog.heard()
    assert looks(watchdog, 1) == [False]  # the heartbeat came after the look before
    assert looks(watchdog, 5) == [False] * 4 + [True]


def test_a_stopped_worker_hangs(process):
    watchdog = Watchdog(process.pid, seconds=5)
    watchdog.heard()
    process.send_signal(signal.SIGSTOP)
    os.waitpid(process.pid, os.WUNTRACED)
    assert looks(watchdog, 6)[-1]


def test_a_heartbeat_in_time_begins_the_count_anew(process):
    watchdog = Watchdog(process.pid, seconds=5)
    for _ in range(3):
        watchdog.heard()
        assert looks(watchdog, 5) == [False] * 5


def test_a_worker_that_is_still_starting_does_not_hang(process):
    watchdog = Watchdog(process.pid, seconds=5)
    assert not any(looks(watchdog, 100))
    assert not watchdog.ready


def test_it_can_be_turned_off(process):
    watchdog = Watchdog(process.pid, seconds=0)
    watchdog.heard()
    assert not any(looks(watchdog, 100))


def test_a_process_that_has_ended_can_be_looked_at(process):
    watchdog = Watchdog(process.pid, seconds=5)
    watchdog.heard()
    process.kill()
    process.wait()
    looks(watchdog, 20)


def test_a_worker_is_spared_while_it_waits_for_a_processor():
    """Five processes on one processor: each look counts for a fifth or so."""
    with ExitStack() as stack:
        worker, *others = (
            stack.enter_context(subprocess.Popen([sys.executable, "-c", "while True: pass"])) for _ in range(5)
        )
        for process in (worker, *others):
            stack.callback(process.kill)
            os.sched_setaffinity(process.pid, {min(os.sched_getaffinity(0))})
        watchdog = Watchdog(worker.pid, seconds=5)
        watchdog.heard()
        looks(watchdog, 2)
        before = watchdog.silent
        for _ in range(4):
            time.sleep(1)
            assert not watchdog.look()
        assert watchdog.silent - before < 3
        for process in others:
            process.kill()
            process.wait()
        for _ in range(30):
            if watchdog.look():
                return
            time.sleep(1)
        raise AssertionError("a worker that has the processor and is silent hangs")
