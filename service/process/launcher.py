"""``catseye serve``: BentoML's workers below a supervisor, and a way out that loses no request.

BentoML's workers stop accepting connections at SIGTERM without a word to the load balancer. So the signal
comes here: ``/readyz`` turns 503 first (see ``service.process.drain``), then new work is refused, and only then is
the signal passed on, upon which running requests end and the workers leave.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Final

from models.errors import BadParameter
from models.store.store import store_home
from service.process import heartbeat
from service.process.drain import REFUSING_SECONDS, VARIABLE, Drain
from service.process.parent_death import for_a_child
from service.process.watchdog import Watchdog
from service.settings import Settings

TARGET: Final = "service.app:Catseye"
_ROOT: Final = Path(__file__).parents[2]


def check_free(host: str, port: int) -> None:
    """``BadParameter`` where nobody could listen on that address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise BadParameter(
                f"Nobody can listen on {host}:{port} ({reason}). Choose another with --port or --host."
            ) from error


def command(host: str, port: int, settings: Settings) -> list[str]:
    """The command line of the supervisor: ours, or BentoML's where somebody has configured BentoML (TLS, tracing)."""
    workers = {
        # Longer than the minute that proxies keep idle connections, so that theirs is never closed under them.
        "--timeout-keep-alive": "75",
        # Running requests end by their own time limit; a second more and the workers leave anyway.
        "--timeout-graceful-shutdown": str(int(settings.timeout) + 1),
    }
    address = {"--host": host, "--port": str(port)}
    if is_configured():
        return _words("bentoml", "serve", TARGET, **address, **{"--working-dir": str(_ROOT)}, **workers)
    return _words("service.process.supervisor", TARGET, **address, **{"--workers": str(settings.workers)}, **workers)


def _words(module: str, *names: str, **options: str) -> list[str]:
    return [sys.executable, "-m", module, *names, *(word for option in options.items() for word in option)]


def is_configured() -> bool:
    """Whether the environment has settings for BentoML, most of which its own supervisor reads alone."""
    return any(os.environ.get(name) for name in ("BENTOML_CONFIG", "BENTOML_CONFIG_OPTIONS"))


def serve(host: str, port: int, settings: Settings, meanwhile: Callable[[], object] | None = None) -> int:
    """Serve until a signal ends it; gives the exit code. ``meanwhile`` is called while the server starts."""
    check_free(host, port)
    with tempfile.TemporaryDirectory(prefix="catseye-serve-") as folder:
        environment = environment_of(Path(folder), settings)
        watchdog = Watchdog(Path(environment[heartbeat.VARIABLE]), settings.hang_seconds)
        exit_ = _Exit(Drain(Path(environment[VARIABLE])), settings.drain_seconds)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, exit_.begin)
        # A session of its own: Ctrl-C in a terminal would otherwise reach the workers before us.
        child = subprocess.Popen(  # noqa: S603
            command(host, port, settings),
            env=environment,
            # Where our modules are; a path in BentoML's settings is meant from where somebody wrote it.
            cwd=None if is_configured() else _ROOT,
            start_new_session=True,
            preexec_fn=for_a_child(),
        )
        exit_.attach(child)
        watchdog.begin()
        if meanwhile is not None:
            meanwhile()
        code = child.wait()
        # A supervisor that was killed leaves workers behind, who leave by themselves and need the folder until then.
        watchdog.wait_for_workers(settings.timeout + 5)
        watchdog.end()
        return 0 if exit_.asked and code in (0, -signal.SIGTERM) else code


def environment_of(folder: Path, settings: Settings) -> dict[str, str]:
    """The environment of one server, whose own files are in ``folder``."""
    metrics = folder / "metrics"
    metrics.mkdir()
    return {
        "BENTOML_DO_NOT_TRACK": "True",
        **os.environ,
        "BENTOML_HOME": str(private_home(folder)),
        # The workers run elsewhere, and what tuning has kept is here.
        "CATSEYE_HOME": str(settings.home.absolute()),
        "PROMETHEUS_MULTIPROC_DIR": str(metrics),
        VARIABLE: str(folder / "drain"),
        heartbeat.VARIABLE: str(folder / "heartbeats"),
    }


def private_home(folder: Path) -> Path:
    """A BentoML home for one server, in ``folder``: the store's models, and everything else of its own.

    BentoML writes to its home and empties the metrics' files in it at every start: a store that cannot be
    written would stop it, and a second server on the same store would lose its counts.
    """
    models = store_home().absolute() / "models"
    with suppress(OSError):  # a store that cannot be written is served as it is
        models.mkdir(parents=True, exist_ok=True)
    home = folder / "bentoml"
    home.mkdir()
    if models.is_dir():
        (home / "models").symlink_to(models)
    return home


class _Exit:
    """Ends the server in steps; a second signal ends it at once."""

    def __init__(self, drain: Drain, seconds: float) -> None:
        self._drain, self._seconds = drain, seconds
        self._child: subprocess.Popen[bytes] | None = None
        self.asked = False

    def attach(self, child: "subprocess.Popen[bytes]") -> None:
        """The server, once it runs; it ends at once where a signal came before it."""
        self._child = child
        if self.asked:
            self._pass_on()

    def begin(self, number: int, frame: FrameType | None) -> None:
        """The signal handler."""
        again, self.asked = self.asked, True
        # Nobody watches the readiness of a server in somebody's terminal.
        wait = 0.0 if number == signal.SIGINT else self._seconds
        if again:
            self._pass_on()
            return
        self._drain.begin(wait)
        timer = threading.Timer(wait + REFUSING_SECONDS, self._pass_on)
        timer.daemon = True
        timer.start()

    def _pass_on(self) -> None:
        if self._child is not None and self._child.poll() is None:
            self._child.terminate()
