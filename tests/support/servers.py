"""A real server, as users start it: ``catseye serve`` as a process of its own, on a free port."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.support import ROOT
from tests.support.waiting import wait_for

START_SECONDS = 120
COMMANDS = {"catseye": ("catseye", "serve"), "bentoml": ("bentoml", "serve", "service.app:Catseye")}
"""How a server is started: as users do, or by BentoML's own command."""


@dataclass
class Live:
    """A running server and the model that it serves by default."""

    url: str
    client: httpx.Client
    process: subprocess.Popen[bytes]
    log: Path
    store: Path
    model: str = ""
    labels: tuple[str, ...] = ()

    @property
    def address(self) -> str:
        """Host and port."""
        return self.url.removeprefix("http://")

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def output(self) -> str:
        """Everything that the server has printed."""
        return self.log.read_text(errors="replace")

    def logged(self, request_id: str) -> list[dict[str, Any]]:
        """The lines of the access log about a request; they are written after its reply has left."""

        def lines() -> list[str]:
            whole, _, _ = self.output().rpartition("\n")
            return [line for line in whole.splitlines() if request_id in line and line.startswith("{")]

        return [json.loads(line) for line in wait_for("the access log's line", lines, 30)]


def free_port() -> int:
    """A port that nothing listened on a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def start(
    store: Path,
    *,
    command: str = "catseye",
    wait: bool = True,
    key: str = "",
    port: int = 0,
    root: Path = ROOT,
    python: str | Path = sys.executable,
    **settings: str,
) -> Live:
    """A server over the store; ``settings`` are environment variables, ``key`` goes with every request.

    It runs in the checkout ``root``, by that ``python``. With ``wait``, it is ready and has said which model it serves.
    """
    port = port or free_port()
    folder = Path(tempfile.mkdtemp(prefix="catseye-live-"))
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("CATSEYE_")},
        "BENTOML_HOME": str(store),
        "BENTOML_DO_NOT_TRACK": "True",
        "CATSEYE_HOME": str(folder / "catseye"),
        "CATSEYE_TUNE_SECONDS": "0",
        "CATSEYE_DRAIN_SECONDS": "0",
        **settings,
    }
    arguments = [str(python), "-m", *COMMANDS[command], "--host", "127.0.0.1", "--port", str(port)]
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(arguments, cwd=root, env=environment, stdout=output, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    client = httpx.Client(base_url=url, timeout=60, headers={"x-api-key": key} if key else {})
    live = Live(url, client, process, log, store)
    if wait:
        wait_until_ready(live)
    return live


def wait_until_ready(live: Live) -> None:
    """Wait for ``/readyz``, and learn which model is served."""

    def ready() -> bool:
        if live.process.poll() is not None:
            raise RuntimeError(f"the server ended with {live.process.returncode}:\n{live.output()}")
        return live.client.get("/readyz", timeout=2).status_code == 200

    try:
        wait_for("ready", ready, START_SECONDS)
    except AssertionError as error:
        stop(live)
        raise RuntimeError(f"{error}:\n{live.output()}") from None
    default = next((model for model in live.client.get("/v1/models").json()["models"] if model["default"]), None)
    if default is not None:
        live.model, live.labels = default["name"], tuple(default["labels"])


def stop(live: Live) -> int:
    """End the server as a container would, and give its exit code."""
    live.client.close()
    if live.process.poll() is None:
        live.process.send_signal(signal.SIGTERM)
    try:
        return live.process.wait(60)
    except subprocess.TimeoutExpired:
        live.process.kill()
        return live.process.wait()


@contextmanager
def serving(store: Path, **options: str | int | bool | Path) -> Iterator[Live]:
    """A server while the block runs; options as those of ``start``."""
    live = start(store, **options)  # type: ignore[arg-type]
    try:
        yield live
    finally:
        stop(live)
