"""``docker compose up`` for real: images built, the demo trained, everything killed once, nothing lost.

Grafana is left out where its image cannot be had; its dashboards' queries are run all the same.
"""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support import ROOT
from tests.support.docker import Stack, composed, docker
from tests.support.images import png
from tests.support.prometheus import load, panel_queries, query, shows
from tests.support.waiting import wait_for

IMAGES = ("image-python", "image-prometheus")
pytestmark = [pytest.mark.docker, pytest.mark.needs("bash", "docker", "docker-compose", *IMAGES)]
STARTED = ("bootstrap", "service", "prometheus")
QUICK = ("--backbone", "cnn", "--weights", "none", "--size", "32", "--epochs", "1", "--head-epochs", "1")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Build and start everything but Grafana on free ports; the bootstrap is killed once, and trains all the same."""
    data = tmp_path_factory.mktemp("photographs")
    for label, seeds in (("pale", range(10)), ("dark", range(10, 20))):
        (data / label).mkdir()
        for seed in seeds:
            (data / label / f"{seed}.png").write_bytes(png(48, 48, seed))
    data.chmod(0o755)
    # Batches and the cache have panels of their own and are off by default; nobody watches readiness here.
    settings = {"CATSEYE_BATCH": "4", "CATSEYE_CACHE_MB": "1", "CATSEYE_DRAIN_SECONDS": "0"}
    with composed("test", CATSEYE_DATA=str(data), **settings) as running:
        running.compose("build", "bootstrap", "service")
        running.compose("up", "-d", "bootstrap")
        wait_for("training", lambda: "Run folder" in running.compose("logs", "bootstrap"), 120)
        running.kill("bootstrap")
        running.compose("up", "-d", *STARTED)
        wait_for("the service", lambda: running.classify().status_code == 200, 120)
        yield running


def test_the_bootstrap_trained_although_it_was_killed(stack: Stack) -> None:
    container = stack.container("bootstrap")
    assert docker("inspect", "-f", "{{.State.ExitCode}} {{.RestartCount}}", container) == "0 1"
    assert "Trained and stored" in stack.compose("logs", "bootstrap")
    assert {name: len(versions) for name, versions in stack.versions().items()} == {"solar-cells": 1}


def test_the_published_port_answers(stack: Stack) -> None:
    answer = stack.classify().json()
    assert answer["model"] == "solar-cells"
    assert {row["label"] for row in answer["predictions"]} == {"defective", "functional"}
    container = stack.container("service")
    wait_for("healthy", lambda: docker("inspect", "-f", "{{.State.Health.Status}}", container) == "healthy")


def test_prometheus_in_its_container_sees_the_service_and_every_panel_has_data(stack: Stack) -> None:
    with httpx.Client(base_url=stack.prometheus, timeout=10) as client:
        wait_for("target", lambda: bool(query(client, 'up{job="catseye"} == 1')))
        for _ in range(2):
            load(stack.service)
            time.sleep(6)  # a scrape later
        wait_for("recorded", lambda: bool(query(client, "catseye:requests:rate5m")))
        empty = [panel for panel, expression in panel_queries() if not shows(client, expression)]
        assert empty == []


def test_containers_run_without_root_on_a_read_only_system(stack: Stack) -> None:
    container = stack.container("service")
    assert docker("exec", container, "id", "-u") == "10001"
    for path in ("/opt/x", "/var/lib/catseye/x", "/etc/x"):
        tried = subprocess.run(["docker", "exec", container, "touch", path], capture_output=True)
        assert tried.returncode != 0, path
    variables = docker("inspect", "-f", "{{.Config.Env}}", container)
    assert "BENTOML_CONTAINERIZED" not in variables


def test_ports_are_open_on_this_machine_only(stack: Stack) -> None:
    for name in ("service", "prometheus"):
        bound = docker("port", stack.container(name)).split("-> ")[1]
        assert bound.startswith("127.0.0.1:")


def test_the_trainer_stores_a_model_and_the_running_service_picks_it_up(stack: Stack) -> None:
    since = docker("inspect", "-f", "{{.State.StartedAt}}", stack.container("service"))
    stack.compose("run", "--rm", "trainer", "train", "/data", "--name", "mine", *QUICK)
    wait_for("the new model", lambda: "mine" in stack.versions(), 60)
    assert {row["label"] for row in stack.classify("mine").json()["predictions"]} == {"pale", "dark"}
    assert docker("inspect", "-f", "{{.State.StartedAt}}", stack.container("service")) == since


@pytest.mark.parametrize("name", ["service", "prometheus"])
def test_a_killed_container_comes_back_with_everything(stack: Stack, name: str) -> None:
    before = stack.versions()
    stack.kill(name)
    wait_for("service", lambda: stack.classify().status_code == 200, 90)
    wait_for("prometheus", lambda: httpx.get(f"{stack.prometheus}/-/ready", timeout=2).status_code == 200)
    assert stack.versions() == before


def test_a_worker_killed_in_its_container_is_replaced_there_and_counted(stack: Stack) -> None:
    container = stack.container("service")
    since = docker("inspect", "-f", "{{.State.StartedAt}}", container)
    processes = docker("top", container, "-eo", "pid,args").splitlines()
    worker = next(line.split()[0] for line in processes if "service.process.worker" in line)
    os.kill(int(worker), signal.SIGKILL)
    replaced = "catseye_worker_restarts_total 1.0"
    wait_for("another worker", lambda: replaced in httpx.get(f"{stack.service}/metrics", timeout=5).text, 60)
    wait_for("service", lambda: stack.classify().status_code == 200)
    assert docker("inspect", "-f", "{{.State.StartedAt}}", container) == since


def test_a_killed_trainer_leaves_the_store_as_it_was(stack: Stack) -> None:
    before, name = stack.versions(), f"{stack.project}-killed"
    stack.compose("run", "-d", "--name", name, "trainer", "train", "/data", "--name", "half", *QUICK)
    wait_for("training", lambda: "Run folder" in docker("logs", name), 60)
    docker("kill", name)
    docker("rm", name)
    listed = stack.compose("run", "--rm", "trainer", "models")
    assert "mine" in listed
    assert "half" not in listed
    assert stack.versions() == before


def test_a_second_up_trains_nothing(stack: Stack) -> None:
    before = stack.versions()
    stack.compose("up", "-d", *STARTED)
    assert "nothing to do" in stack.compose("logs", "bootstrap")
    wait_for("service", lambda: stack.classify().status_code == 200, 90)
    assert stack.versions() == before


def page(heading: str) -> list[str]:
    """The commands in a section of docs/how-to/operate.md, in order."""
    text = (ROOT / "docs" / "how-to" / "operate.md").read_text()
    section = text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"^    (.*docker .*)$", section, re.MULTILINE)


def test_a_store_that_is_lost_comes_back_from_its_copy(stack: Stack, tmp_path: Path) -> None:
    copy, restore = page("Back up the store")
    before = stack.versions()
    stack.shell(copy, tmp_path)
    stack.compose("down", "--volumes")
    stack.shell(restore, tmp_path)
    stack.compose("up", "-d", *STARTED)
    wait_for("service", lambda: stack.classify().status_code == 200, 90)
    assert stack.versions() == before
    assert "nothing to do" in stack.compose("logs", "bootstrap")


def test_the_page_tells_how_to_upgrade_and_to_roll_back(stack: Stack, tmp_path: Path) -> None:
    back, pin, delete = page("Roll back")
    version = stack.versions()["mine"][0]
    for command in (*page("Upgrade"), back):
        stack.shell(command, tmp_path)
        wait_for("service", lambda: stack.classify().status_code == 200, 90)
    assert docker("inspect", "-f", "{{.Config.Image}}", stack.container("service")) == "catseye:before"
    stack.shell(pin.replace("VERSION", version), tmp_path)
    wait_for("only what is pinned", lambda: stack.versions() == {"mine": [version]}, 90)
    stack.shell(delete.replace("VERSION", version), tmp_path)
    stack.compose("up", "-d", "service")
    wait_for("the others", lambda: stack.versions().keys() == {"solar-cells"}, 90)
    docker("rmi", "catseye:before")


@pytest.mark.daemon
def test_everything_comes_back_after_the_docker_daemon_is_killed(stack: Stack, tmp_path: Path) -> None:
    before = stack.versions()
    pid = int(Path("/var/run/docker.pid").read_text())
    os.kill(pid, signal.SIGKILL)
    wait_for("end of the daemon", lambda: not Path(f"/proc/{pid}").exists() or _zombie(pid), 30)
    time.sleep(5)
    if subprocess.run(["docker", "info"], capture_output=True).returncode != 0:
        Path("/var/run/docker.pid").unlink(missing_ok=True)
        # It outlives these tests, and so must not put its scratch files into their folder.
        outside = {name: value for name, value in os.environ.items() if name != "TMPDIR"}
        with (tmp_path / "dockerd.log").open("wb") as log:
            subprocess.Popen(
                ["dockerd"], env=outside, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )
    wait_for("the daemon", lambda: subprocess.run(["docker", "info"], capture_output=True).returncode == 0, 90)
    wait_for("service", lambda: stack.classify().status_code == 200, 120)
    wait_for("prometheus", lambda: httpx.get(f"{stack.prometheus}/-/ready", timeout=2).status_code == 200)
    assert stack.versions() == before


def _zombie(pid: int) -> bool:
    return ") Z " in Path(f"/proc/{pid}/stat").read_text()
