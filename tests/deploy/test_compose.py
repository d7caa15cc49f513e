"""``docker compose up`` for real: images built, the demo trained, everything killed once, nothing lost.

Grafana is left out where its image cannot be had; test_image.py runs its dashboards' queries.
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

from tests.deploy.conftest import ROOT, wait_for
from tests.deploy.stack import Stack, composed, docker
from tests.images import png

pytestmark = pytest.mark.docker
STARTED = ("bootstrap", "service", "prometheus")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Build and start everything but Grafana on free ports; the bootstrap trains in between."""
    data = tmp_path_factory.mktemp("photographs")
    for label, seeds in (("pale", range(10)), ("dark", range(10, 20))):
        (data / label).mkdir()
        for seed in seeds:
            (data / label / f"{seed}.png").write_bytes(png(48, 48, seed))
    data.chmod(0o755)
    with composed("test", CATSEYE_DATA=str(data)) as running:
        running.compose("build", "bootstrap", "service")
        running.compose("up", "-d", *STARTED)
        wait_for("the service", lambda: running.classify().status_code == 200, 120)
        yield running


def test_the_bootstrap_trained_and_the_published_port_answers(stack: Stack) -> None:
    assert docker("inspect", "-f", "{{.State.ExitCode}}", stack.compose("ps", "-a", "-q", "bootstrap").strip()) == "0"
    answer = stack.classify().json()
    assert answer["model"] == "solar-cells"
    assert {row["label"] for row in answer["predictions"]} == {"defective", "functional"}
    container = stack.container("service")
    wait_for("healthy", lambda: docker("inspect", "-f", "{{.State.Health.Status}}", container) == "healthy")


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


def page(heading: str) -> list[str]:
    """The commands in a section of docs/operations.md, in order."""
    text = (ROOT / "docs" / "operations.md").read_text()
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
