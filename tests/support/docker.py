"""A project of ``docker compose`` on the shipped file, under a name and on ports of its own."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.support import ROOT
from tests.support.images import png
from tests.support.programs import need
from tests.support.servers import free_port
from tests.support.waiting import wait_for


def docker(*arguments: str) -> str:
    """The output of a docker command that must succeed."""
    result = subprocess.run(["docker", *arguments], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout.strip()


def _program() -> list[str]:
    return need("docker-compose").split(" ")


@dataclass
class Stack:
    """The running project: how to speak to compose, and where its ports are."""

    project: str
    environment: dict[str, str]
    service: str
    prometheus: str

    def compose(self, *arguments: str) -> str:
        """The output of a compose command that must succeed, on the shipped file alone."""
        command = [*_program(), "-p", self.project, *arguments]
        result = subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True)
        assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
        return result.stdout

    def shell(self, command: str, folder: Path) -> None:
        """Run a line of the documentation in a folder, as someone would whose project this is."""
        line = command.replace("docker compose", " ".join(_program()))
        project = {"COMPOSE_PROJECT_NAME": self.project, "COMPOSE_FILE": str(ROOT / "docker-compose.yml")}
        result = subprocess.run(
            ["bash", "-ec", line], cwd=folder, env=self.environment | project, capture_output=True, text=True
        )
        assert result.returncode == 0, f"{line}\n{result.stdout[-3000:]}{result.stderr[-3000:]}"

    def container(self, name: str) -> str:
        """The id of a service's container."""
        return self.compose("ps", "-a", "-q", name).strip()

    def kill(self, name: str) -> None:
        """Kill the first process of a service's container, and wait until the container has been started again."""
        container = self.container(name)
        state = "{{.State.Pid}} {{.RestartCount}}"
        pid, count = map(int, docker("inspect", "-f", state, container).split())
        # From outside: `docker kill` counts as a wish of the user's and is not made good.
        os.kill(pid, signal.SIGKILL)
        again = str(count + 1)
        wait_for("restart", lambda: docker("inspect", "-f", "{{.RestartCount}}", container) == again, 30)

    def classify(self, model: str = "") -> httpx.Response:
        """One request through the published port."""
        query = {"model": model} if model else {}
        return httpx.post(f"{self.service}/v1/classify", params=query, content=png(64, 64), timeout=10)

    def versions(self) -> dict[str, list[str]]:
        """Loaded versions by model, as the service says."""
        models = httpx.get(f"{self.service}/v1/models", timeout=5).json()["models"]
        return {model["name"]: model["variants"]["accurate"]["loaded_versions"] for model in models}


@contextmanager
def composed(name: str, **settings: str) -> Iterator[Stack]:
    """A project that has not started anything yet; whatever it starts is gone afterwards, volumes too."""
    service, prometheus = str(free_port()), str(free_port())
    ports = {"CATSEYE_PORT": service, "PROMETHEUS_PORT": prometheus, "COMPOSE_HTTP_TIMEOUT": "300"}
    stack = Stack(
        f"catseye-{name}-{os.getpid()}",
        os.environ | ports | settings,
        f"http://127.0.0.1:{service}",
        f"http://127.0.0.1:{prometheus}",
    )
    try:
        yield stack
    finally:
        stack.compose("down", "--volumes", "--remove-orphans")
