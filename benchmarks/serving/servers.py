"""A server as a process: start it, wait until it answers, stop it from running between its turns, weigh it, end it."""

import contextlib
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import psutil

from service.process.supervisor import listen

START_SECONDS = 180.0
ROOT = Path(__file__).parents[2]


@dataclass
class Server:
    """A server that runs, with all its processes."""

    process: subprocess.Popen[bytes]
    log: Path
    start_seconds: float = 0.0
    stopped: bool = field(default=False, repr=False)

    def family(self) -> list[psutil.Process]:
        """The process and all below it."""
        try:
            head = psutil.Process(self.process.pid)
            return [head, *head.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def megabytes(self) -> tuple[float, float]:
        """Resident memory of the largest process, and of all, shared pages counted once for each."""
        sizes = []
        for each in self.family():
            with contextlib.suppress(psutil.NoSuchProcess):
                sizes.append(each.memory_info().rss / 2**20)
        return max(sizes, default=0.0), sum(sizes)

    def hold(self) -> None:
        """Let it have no processor time until its next turn."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Its turn."""
        self._signal(signal.SIGCONT)

    def busy(self, seconds: float = 0.3) -> bool:
        """Whether it uses more than a tenth of a processor during so many seconds."""
        before = self.processor_seconds()
        time.sleep(seconds)
        return self.processor_seconds() - before > 0.1 * seconds

    def end(self) -> None:
        """End all of it."""
        family = self.family()
        self.resume()
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()
        _gone, left = psutil.wait_procs(family, timeout=15)
        for each in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        self.process.wait(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def processor_seconds(self) -> float:
        """What all of it has used so far."""
        total = 0.0
        for each in self.family():
            with contextlib.suppress(psutil.NoSuchProcess):
                times = each.cpu_times()
                total += times.user + times.system
        return total

    def _signal(self, number: int) -> None:
        for each in self.family():
            with contextlib.suppress(psutil.NoSuchProcess):
                each.send_signal(number)


def start(
    command: Sequence[str], environment: dict[str, str], port: int, ready: str, log: Path, folder: Path
) -> Server:
    """Start a server in ``folder`` on a free ``port`` and wait until a GET of the path ``ready`` is answered 200."""
    listen("127.0.0.1", port, 1).close()  # raises where it is taken
    began = time.perf_counter()
    with log.open("ab") as out:
        process = subprocess.Popen(
            command, env=os.environ | environment, stdout=out, stderr=out, start_new_session=True, cwd=folder
        )
    server = Server(process, log)
    try:
        while not _answers(f"http://127.0.0.1:{port}{ready}"):
            if process.poll() is not None or time.perf_counter() - began > START_SECONDS:
                raise RuntimeError(f"{' '.join(command)} did not start:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.02)
    except BaseException:
        server.end()
        raise
    server.start_seconds = time.perf_counter() - began
    return server


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as reply:
            return bool(reply.status == 200)
    except (OSError, urllib.error.URLError, ValueError):
        return False
