"""``catseye serve``: one parent process that listens, and starts, watches, replaces and drains its workers.

Every worker (``service.process.worker``) inherits the listening socket and one end of a socket pair, the channel. It
sends heartbeats there, hears from it when to become unready, and sees by its end that the supervisor has died.
"""

import ipaddress
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Final

import typer

from models.errors import BadParameter
from service.asgi.drain import MESSAGE, quiet, stop_listening
from service.compatibility import is_configured
from service.process.watchdog import LOOK_SECONDS, Watchdog
from service.settings import Settings

_ROOT: Final = Path(__file__).parents[2]
_TICK_SECONDS: Final = 0.1
_BACKLOG: Final = 2048  # uvicorn's
_MOST_DELAY_SECONDS: Final = 30.0


def listen(host: str, port: int, timeout: float) -> socket.socket:
    """A socket that listens on an address; ``BadParameter`` where that cannot be.

    Linux ends a connection whose client has not taken a waiting reply for ``timeout`` seconds (``TCP_USER_TIMEOUT``,
    tcp(7), which connections inherit): nothing in HTTP would, and the reply and its descriptor would stay.
    """
    try:
        family = socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET
    except ValueError:  # a name
        family = socket.AF_INET
    try:
        listener = socket.create_server(
            (host, port), family=family, backlog=_BACKLOG, dualstack_ipv6=family == socket.AF_INET6
        )
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadParameter(
            f"Cannot listen on {host}:{port}: {reason}. Choose another address with --port or --host."
        ) from error
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(timeout * 1e3))
    return listener


def serve(host: str, port: int, settings: Settings, meanwhile: Callable[[], object] | None = None) -> int:
    """Serve until a signal ends it; gives the exit code. ``meanwhile`` is called while the workers start."""
    with listen(host, port, settings.timeout) as listener, _temporary_folder() as folder:
        supervisor = Supervisor(listener, settings, Path(folder))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, supervisor.stop)
        supervisor.start()
        shown = f"[{host}]" if ":" in host else host
        scheme = "" if is_configured() else "http://"  # it may have TLS
        typer.echo(f"catseye: listening on {scheme}{shown}:{port} (Ctrl-C ends it)")
        if meanwhile is not None:
            meanwhile()
        return supervisor.run()


def _temporary_folder() -> "tempfile.TemporaryDirectory[str]":
    try:
        return tempfile.TemporaryDirectory(prefix="catseye-serve-")
    except OSError as error:
        raise BadParameter(
            f"No temporary folder can be made: {error}. Set TMPDIR to one that can be written."
        ) from None


class _Worker:
    """A worker process and the supervisor's end of its channel."""

    def __init__(self, listener: socket.socket, environment: dict[str, str], hang_seconds: float) -> None:
        self.channel, theirs = socket.socketpair()
        self.channel.setblocking(False)
        descriptors = (listener.fileno(), theirs.fileno())
        with theirs:
            self.process = subprocess.Popen(  # noqa: S603
                # -P: a folder ``service`` or ``models`` where the command was given is not ours.
                [sys.executable, "-P", "-m", "service.process.worker", *map(str, descriptors)],
                env=environment,
                pass_fds=descriptors,
                start_new_session=True,  # Ctrl-C in a terminal reaches the supervisor alone
            )
        self.watchdog = Watchdog(self.process.pid, hang_seconds)

    def tell(self, seconds: float) -> None:
        """Have it become unready now and refuse new work in so many seconds."""
        with suppress(OSError):  # it has ended
            self.channel.send(MESSAGE.pack(seconds))

    def hear(self) -> bool:
        """Read what has come; False where the other end is closed."""
        try:
            came = self.channel.recv(4096)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if came:
            self.watchdog.heard()
        return bool(came)


class Supervisor:
    """Keeps ``settings.workers`` workers on a listening socket until it is told to stop."""

    def __init__(self, listener: socket.socket, settings: Settings, folder: Path) -> None:
        """``folder`` is for files of this server alone."""
        self._listener, self._settings = listener, settings
        # Workers find our modules wherever the command was given.
        path = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        own = {"PROMETHEUS_MULTIPROC_DIR": str(folder), "PYTHONPATH": path}
        self._environment = {"BENTOML_DO_NOT_TRACK": "True", **os.environ, **own}
        self._selector = selectors.DefaultSelector()
        self._workers: list[_Worker] = []
        self._signals: list[int] = []
        self._failures = 0
        self._starts_at = self._looks_at = 0.0
        self._closes_at: float | None = None
        self._kills_at: float | None = None
        self._exit_code = 0

    def stop(self, number: int, frame: FrameType | None = None) -> None:
        """The signal handler: drain and end; at a second signal, end without draining."""
        self._signals.append(number)

    def start(self) -> None:
        """Start the workers that are missing."""
        while len(self._workers) < self._settings.workers:
            worker = _Worker(self._listener, self._environment, self._settings.hang_seconds)
            self._selector.register(worker.channel, selectors.EVENT_READ, worker)
            self._workers.append(worker)

    def run(self) -> int:
        """Watch the workers until the last one has ended after ``stop``; gives the exit code."""
        while self._workers or not self._stopping():
            for key, _ in self._selector.select(_TICK_SECONDS if self._closes_at is None else _TICK_SECONDS / 10):
                if not key.data.hear():
                    self._selector.unregister(key.fileobj)
            now = time.monotonic()
            self._bury(now)
            if now >= self._looks_at:
                self._looks_at = now + LOOK_SECONDS
                self._kill_hung()
            if self._stopping():
                self._shut_down(now)
            elif now >= self._starts_at:
                self.start()
        return self._exit_code

    def _stopping(self) -> bool:
        return bool(self._signals) or self._exit_code != 0

    def _bury(self, now: float) -> None:
        """Forget workers that have ended; those that never became ready are replaced ever more slowly."""
        for worker in [worker for worker in self._workers if worker.process.poll() is not None]:
            self._workers.remove(worker)
            with suppress(KeyError):  # the end of its channel was seen
                self._selector.unregister(worker.channel)
            worker.channel.close()
            code = worker.process.returncode
            self._failures = 0 if worker.watchdog.ready else self._failures + 1
            if self._stopping():
                continue
            if code == os.EX_CONFIG:  # it has said what is wrong
                self._exit_code = 2
                return
            delay = min(2.0 ** (self._failures - 1), _MOST_DELAY_SECONDS) if self._failures else 0.0
            self._starts_at = now + delay
            ended = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
            typer.echo(f"catseye: worker {worker.process.pid} {ended}; another starts.", err=True)

    def _kill_hung(self) -> None:
        for worker in self._workers:
            if worker.watchdog.look():
                typer.echo(
                    f"catseye: worker {worker.process.pid} sent no heartbeat for {worker.watchdog.silent:.0f} seconds "
                    "and is killed. CATSEYE_HANG_SECONDS sets how long.",
                    err=True,
                )
                worker.process.kill()

    def _shut_down(self, now: float) -> None:
        """The next step of: unready, closed to new work, deaf to connections, ended."""
        if self._closes_at is None:
            # Nobody watches the readiness of a server in a terminal.
            seconds = self._settings.drain_seconds if self._signals == [signal.SIGTERM] else 0.0
            self._closes_at = now + seconds
            for worker in self._workers:
                worker.tell(seconds)
        elif self._kills_at is not None:
            if now >= self._kills_at:
                for worker in self._workers:
                    worker.process.kill()
        elif len(self._signals) > 1 or quiet(self._listener, now - self._closes_at):
            stop_listening(self._listener)
            for worker in self._workers:
                worker.process.terminate()
            self._kills_at = now + self._settings.timeout + 10
