"""``docker compose up`` for real: images built, the demo trained, everything killed once, nothing lost.

Grafana is left out where its image cannot be had; its dashboards' queries run against this Prometheus too.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.deploy.conftest import ROOT, free_port, wait_for
from tests.deploy.test_prometheus import panel_queries, query
from tests.images import png

pytestmark = pytest.mark.docker
STARTED = ("bootstrap", "service", "prometheus")


def docker(*arguments: str) -> str:
    """The output of a docker command that must succeed."""
    result = subprocess.run(["docker", *arguments], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout.strip()


@dataclass
class Stack:
    """The running project: how to speak to compose, and where its ports are."""

    project: str
    environment: dict[str, str]
    service: str
    prometheus: str

    def compose(self, *arguments: str) -> str:
        """The output of a compose command that must succeed, on the shipped file alone."""
        plugin = subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0
        program = ["docker", "compose"] if plugin else ["docker-compose"]
        command = [*program, "-p", self.project, *arguments]
        result = subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True)
        assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
        return result.stdout

    def container(self, name: str) -> str:
        """The id of a service's container."""
        return self.compose("ps", "-q", name).strip()

    def classify(self, model: str = "") -> httpx.Response:
        """One request through the published port."""
        query = {"model": model} if model else {}
        return httpx.post(f"{self.service}/v1/classify", params=query, content=png(64, 64), timeout=10)

    def versions(self) -> dict[str, list[str]]:
        """Loaded versions by model, as the service says."""
        models = httpx.get(f"{self.service}/v1/models", timeout=5).json()["models"]
        return {model["name"]: model["variants"]["accurate"]["loaded_versions"] for model in models}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Build and start everything but Grafana on free ports; the bootstrap trains in between."""
    ports = free_port(), free_port()
    data = tmp_path_factory.mktemp("photographs")
    for label, seeds in (("pale", range(10)), ("dark", range(10, 20))):
        (data / label).mkdir()
        for seed in seeds:
            (data / label / f"{seed}.png").write_bytes(png(48, 48, seed))
    data.chmod(0o755)
    environment = os.environ | {
        "CATSEYE_PORT": str(ports[0]),
        "PROMETHEUS_PORT": str(ports[1]),
        "CATSEYE_DATA": str(data),
        "COMPOSE_HTTP_TIMEOUT": "300",
    }
    running = Stack(
        f"catseye-test-{os.getpid()}",
        environment,
        f"http://127.0.0.1:{ports[0]}",
        f"http://127.0.0.1:{ports[1]}",
    )
    try:
        running.compose("build", "bootstrap", "service")
        running.compose("up", "-d", *STARTED)
        wait_for("the service", lambda: running.classify().status_code == 200, 120)
        yield running
    finally:
        running.compose("down", "--volumes", "--remove-orphans")


def test_the_serving_image_is_small_and_has_no_tensorflow(stack: Stack) -> None:
    sizes = {
        name: int(docker("image", "inspect", "-f", "{{.Size}}", name))
        for name in ("catseye", "python:3.11-slim-bookworm")
    }
    assert sizes["catseye"] - sizes["python:3.11-slim-bookworm"] <= 550_000_000
    find = "import importlib.util as u; print([m for m in ('tensorflow', 'keras', 'nncf') if u.find_spec(m)])"
    assert docker("run", "--rm", "--entrypoint", "python3", "catseye", "-c", find) == "[]"


def test_containers_run_without_root_on_a_read_only_system(stack: Stack) -> None:
    container = stack.container("service")
    assert docker("exec", container, "id", "-u") == "10001"
    for path in ("/opt/x", "/var/lib/catseye/x", "/etc/x"):
        tried = subprocess.run(["docker", "exec", container, "touch", path], capture_output=True)
        assert tried.returncode != 0, path
    variables = docker("inspect", "-f", "{{.Config.Env}}", container)
    assert "BENTOML_CONTAINERIZED" not in variables


def test_the_bootstrap_trained_and_the_published_port_answers(stack: Stack) -> None:
    assert docker("inspect", "-f", "{{.State.ExitCode}}", stack.compose("ps", "-a", "-q", "bootstrap").strip()) == "0"
    answer = stack.classify().json()
    assert answer["model"] == "solar-cells"
    assert {row["label"] for row in answer["predictions"]} == {"defective", "functional"}
    container = stack.container("service")
    wait_for("healthy", lambda: docker("inspect", "-f", "{{.State.Health.Status}}", container) == "healthy")


def test_ports_are_open_on_this_machine_only(stack: Stack) -> None:
    for name in ("service", "prometheus"):
        bound = docker("port", stack.container(name)).split("-> ")[1]
        assert bound.startswith("127.0.0.1:")


def test_prometheus_sees_the_service_and_the_panels_have_data(stack: Stack) -> None:
    with httpx.Client(base_url=stack.prometheus, timeout=10) as client:
        wait_for("target", lambda: bool(query(client, 'up{job="catseye"} == 1')))
        for _ in range(2):
            for _ in range(150):
                assert stack.classify().status_code == 200
            httpx.post(f"{stack.service}/v1/classify", content=b"no image")
            time.sleep(6)
        wait_for("recorded", lambda: bool(query(client, "catseye:requests:rate5m")))
        empty = [panel for panel, expression in panel_queries() if not query(client, expression)]
        assert empty == []


def test_the_trainer_stores_a_model_and_the_running_service_picks_it_up(stack: Stack) -> None:
    options = ("--backbone", "cnn", "--weights", "none", "--size", "32", "--epochs", "1", "--head-epochs", "1")
    stack.compose("run", "--rm", "trainer", "train", "/data", "--name", "mine", *options)
    wait_for("the new model", lambda: "mine" in stack.versions(), 60)
    assert {row["label"] for row in stack.classify("mine").json()["predictions"]} == {"pale", "dark"}


@pytest.mark.parametrize("name", ["service", "prometheus"])
def test_a_killed_container_comes_back_with_everything(stack: Stack, name: str) -> None:
    before = stack.versions()
    container = stack.container(name)
    # Its first process from outside: `docker kill` counts as a wish of the user's and is not made good.
    os.kill(int(docker("inspect", "-f", "{{.State.Pid}}", container)), signal.SIGKILL)
    wait_for("restart", lambda: docker("inspect", "-f", "{{.RestartCount}}", container) == "1", 30)
    wait_for("service", lambda: stack.classify().status_code == 200, 90)
    wait_for("prometheus", lambda: httpx.get(f"{stack.prometheus}/-/ready", timeout=2).status_code == 200)
    assert stack.versions() == before


def test_a_second_up_trains_nothing(stack: Stack) -> None:
    before = stack.versions()
    stack.compose("up", "-d", *STARTED)
    assert "nothing to do" in stack.compose("logs", "bootstrap")
    wait_for("service", lambda: stack.classify().status_code == 200, 90)
    assert stack.versions() == before


@pytest.mark.daemon
def test_everything_comes_back_after_the_docker_daemon_is_killed(stack: Stack, tmp_path: Path) -> None:
    before = stack.versions()
    pid = int(Path("/var/run/docker.pid").read_text())
    os.kill(pid, signal.SIGKILL)
    wait_for("end of the daemon", lambda: not Path(f"/proc/{pid}").exists() or _zombie(pid), 30)
    time.sleep(5)
    if subprocess.run(["docker", "info"], capture_output=True).returncode != 0:
        Path("/var/run/docker.pid").unlink(missing_ok=True)
        with (tmp_path / "dockerd.log").open("wb") as log:
            subprocess.Popen(["dockerd"], stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
    wait_for("the daemon", lambda: subprocess.run(["docker", "info"], capture_output=True).returncode == 0, 90)
    wait_for("service", lambda: stack.classify().status_code == 200, 120)
    wait_for("prometheus", lambda: httpx.get(f"{stack.prometheus}/-/ready", timeout=2).status_code == 200)
    assert stack.versions() == before


def _zombie(pid: int) -> bool:
    return ") Z " in Path(f"/proc/{pid}/stat").read_text()
