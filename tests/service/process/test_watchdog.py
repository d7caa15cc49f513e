import os
import select
import signal
import subprocess
import sys
import time
from contextlib import ExitStack

import pytest

from service.process.heartbeat import VARIABLE
from service.process.watchdog import Watchdog

BEATS = """
import asyncio
from service.heartbeat import begin_beating
async def live():
    begin_beating()
    print("beats", flush=True)
    await asyncio.sleep(600)
asyncio.run(live())
"""


@pytest.fixture
def watchdog(tmp_path):
    return Watchdog(tmp_path / "heartbeats", seconds=5)


@pytest.fixture
def worker(watchdog, tmp_path):
    environment = {**os.environ, VARIABLE: str(tmp_path / "heartbeats")}
    process = subprocess.Popen([sys.executable, "-c", BEATS], env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "beats\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def look(watchdog, times):
    return [pid for _ in range(times) for pid in watchdog.look()]


def stop(worker):
    worker.send_signal(signal.SIGSTOP)
    os.waitpid(worker.pid, os.WUNTRACED)


def test_a_stopped_worker_is_killed_and_never_before_its_time(watchdog, worker):
    assert look(watchdog, 1) == []
    stop(worker)
    assert look(watchdog, 4) == []
    assert look(watchdog, 2) == [worker.pid]  # the last sign of life may have come after the first look
    assert worker.wait(30) == -signal.SIGKILL
    assert look(watchdog, 9) == []


def test_who_beats_again_in_time_is_left_alone(watchdog, worker):
    look(watchdog, 1)
    for _ in range(3):
        stop(worker)
        assert look(watchdog, 4) == []
        worker.send_signal(signal.SIGCONT)
        assert select.select([watchdog._pipe], [], [], 60)[0]
        assert look(watchdog, 1) == []


SPINS = """
from service.heartbeat import Heart
import asyncio, os
from pathlib import Path
async def live():
    Heart(Path(os.environ["CATSEYE_HEARTBEATS"])).beat()
    print("beats", flush=True)
    while True:
        pass
asyncio.run(live())
"""


def test_who_is_silent_because_the_machine_is_busy_is_left_alone(watchdog, tmp_path):
    """Five processes on one processor: each look counts for a fifth or so."""
    environment = {**os.environ, VARIABLE: str(tmp_path / "heartbeats")}
    with ExitStack() as stack:
        worker, *others = (
            stack.enter_context(subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE))
            for code in (SPINS, *["while True: pass"] * 4)
        )
        assert worker.stdout.readline() == b"beats\n"
        for process in (worker, *others):
            stack.callback(process.kill)
            os.sched_setaffinity(process.pid, {min(os.sched_getaffinity(0))})
        silent = []
        for _ in range(6):
            assert watchdog.look() == []
            silent.append(watchdog._workers[worker.pid].silent)
            time.sleep(1)
        assert silent[-1] - silent[1] < 3, silent
        for process in others:
            process.kill()
        assert next(killed for killed in iter(watchdog.look, None) if killed) == [worker.pid]


def test_who_has_ended_is_not_watched_although_its_last_signs_come_later(watchdog, worker):
    worker.kill()
    worker.wait()
    assert look(watchdog, 20) == []


def test_who_has_ended_after_it_was_watched_is_forgotten(watchdog, worker):
    look(watchdog, 1)
    worker.kill()
    worker.wait()
    assert look(watchdog, 20) == []


def test_it_looks_by_itself(watchdog, worker):
    watchdog.begin()
    worker.send_signal(signal.SIGSTOP)
    assert worker.wait(120) == -signal.SIGKILL
    watchdog.end()


def test_it_can_be_told_never_to_kill(tmp_path):
    patient = Watchdog(tmp_path / "heartbeats", seconds=0)
    with subprocess.Popen(
        [sys.executable, "-c", BEATS],
        env={**os.environ, VARIABLE: str(tmp_path / "heartbeats")},
        stdout=subprocess.PIPE,
    ) as process:
        process.stdout.readline()
        assert look(patient, 100) == []
        assert process.poll() is None
        process.kill()


def test_it_waits_until_the_workers_have_ended(watchdog, worker):
    look(watchdog, 1)
    assert not watchdog.wait_for_workers(0.1)
    worker.kill()
    assert watchdog.wait_for_workers(60)
