"""A real server: ``bentoml serve service.app:Catseye`` as a process of its own, on a free port."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[2]
START_SECONDS = 120


@dataclass
class Live:
    """A running server and the model that it serves by default."""

    address: str
    model: str
    labels: tuple[str, ...]
    client: httpx.Client
    process: subprocess.Popen[bytes]
    log: Path
    store: Path = field(default=Path())

    def output(self) -> str:
        """Everything that the server has printed."""
        return self.log.read_text(errors="replace")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def start(
    store: Path, *, command: str = "bentoml", wait: bool = True, key: str = "", port: int = 0, **settings: str
) -> Live:
    """A server over the store; ``settings`` are environment variables, ``key`` goes with every request."""
    port = port or free_port()
    folder = Path(tempfile.mkdtemp(prefix="catseye-live-"))
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("CATSEYE_")},
        "BENTOML_HOME": str(store),
        "BENTOML_DO_NOT_TRACK": "True",
        "CATSEYE_HOME": str(folder / "catseye"),
        "CATSEYE_TUNE_SECONDS": "0",
        **settings,
    }
    arguments = {
        "bentoml": ["-m", "bentoml", "serve", "service.app:Catseye", "--host", "127.0.0.1", "--port", str(port)],
        "catseye": ["-m", "catseye", "serve", "--host", "127.0.0.1", "--port", str(port)],
    }[command]
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *arguments], cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    headers = {"x-api-key": key} if key else {}
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, headers=headers)
    live = Live(f"127.0.0.1:{port}", "", (), client, process, log, store)
    if wait:
        wait_until_ready(live)
    return live


def wait_until_ready(live: Live) -> None:
    """Wait for ``/readyz``, and learn which model is served."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if live.process.poll() is not None:
            raise RuntimeError(f"the server ended with {live.process.returncode}:\n{live.output()}")
        try:
            if live.client.get("/readyz", timeout=2).status_code == 200:
                break
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    else:
        stop(live)
        raise RuntimeError(f"the server was not ready in {START_SECONDS} s:\n{live.output()}")
    models = live.client.get("/v1/models").json()["models"]
    default = next(model for model in models if model["default"])
    live.model, live.labels = default["name"], tuple(default["labels"])


def stop(live: Live) -> int:
    """End the server as a container would, and give its exit code."""
    live.client.close()
    if live.process.poll() is None:
        live.process.send_signal(signal.SIGTERM)
    try:
        return live.process.wait(30)
    except subprocess.TimeoutExpired:
        live.process.kill()
        return live.process.wait()
