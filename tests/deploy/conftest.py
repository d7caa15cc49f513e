"""A real service on a store of its own, for the tests of what watches it."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx
import pytest

from models.card import Reference
from models.store import store
from tests.support.networks import stored

ROOT = Path(__file__).parents[2]
T = TypeVar("T")


@dataclass
class Server:
    """A running ``catseye serve``: its address and its process."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path


def free_port() -> int:
    """A port that nobody listened on a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_for(what: str, holds: Callable[[], T], seconds: float = 60) -> T:
    """What ``holds()`` gives once that is true; connection errors count as not yet."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if found := holds():
                return found
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    raise AssertionError(f"{what}: not within {seconds} s")


def fill_store(home: Path, name: str = "shapes") -> None:
    """Store a small network that says what it predicted on its held-out images."""
    original = stored()
    labels = original.card.labels
    reference = Reference(
        classes=dict.fromkeys(labels, 1 / len(labels)),
        confidence_edges=(0.0, 0.5, 0.8, 1.0),
        confidence=(0.2, 0.3, 0.5),
    )
    card = original.card.model_copy(update={"name": name, "reference": reference})

    def write(target: Path) -> None:
        for part in ("model.keras", "head.npz"):
            shutil.copy(original.path / part, target / part)
        shutil.copytree(original.path / "openvino", target / "openvino")

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTOML_HOME", str(home))
        store.save(card, write)


@contextmanager
def serving(home: Path, port: int | None = None, **settings: str) -> Iterator[Server]:
    """``catseye serve`` over that store, ready; on a free port where none is given."""
    port = port or free_port()
    environment = os.environ | {"BENTOML_HOME": str(home), "CATSEYE_DRAIN_SECONDS": "0"} | settings
    log = home.parent / f"serve-{port}.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "catseye", "serve", "--host", "127.0.0.1", "--port", str(port)],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for("ready", lambda: httpx.get(f"{url}/readyz", timeout=2).status_code == 200, 120)
        yield Server(url, process, log)
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service with one small model, which batches and keeps answers."""
    folder = tmp_path_factory.mktemp("served")
    fill_store(folder / "bentoml")
    with serving(folder / "bentoml", CATSEYE_BATCH="4", CATSEYE_CACHE_MB="1") as running:
        yield running
