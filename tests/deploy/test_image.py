"""The serving image under ``docker compose`` on a small model, and Prometheus beside it: what CI runs of the images."""

import json
import subprocess
import time
from collections.abc import Iterator

import httpx
import pytest
from packaging.utils import canonicalize_name

from deploy import locks
from tests.deploy.conftest import fill_store, wait_for
from tests.deploy.stack import Stack, composed, docker
from tests.deploy.test_prometheus import panel_queries, query

pytestmark = [pytest.mark.docker, pytest.mark.image]
STARTED = ("service", "prometheus")
PYTHON = "python:3.11-slim-bookworm"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Build and start the service on a store that one small model was copied into, with Prometheus."""
    folder = tmp_path_factory.mktemp("store")
    fill_store(folder / "bentoml")
    with composed("image", CATSEYE_BATCH="4", CATSEYE_CACHE_MB="1") as running:
        running.compose("build", "service")
        running.compose("up", "--no-start", "--no-deps", *STARTED)
        volumes = "-v", f"{folder}:/from:ro", "-v", f"{running.project}_store:/to"
        copy = "cp -r /from/bentoml /to/ && chown -R 10001:10001 /to"
        docker("run", "--rm", "--user", "0", *volumes, "--entrypoint", "sh", "catseye", "-c", copy)
        running.compose("up", "-d", "--no-deps", *STARTED)
        wait_for("the service", lambda: running.classify().status_code == 200, 120)
        yield running


def test_the_published_port_answers(stack: Stack) -> None:
    assert stack.classify().json()["model"] == "shapes"
    container = stack.container("service")
    wait_for("healthy", lambda: docker("inspect", "-f", "{{.State.Health.Status}}", container) == "healthy")


def test_the_serving_image_is_small_and_has_no_tensorflow(stack: Stack) -> None:
    sizes = [int(docker("image", "inspect", "-f", "{{.Size}}", name)) for name in ("catseye", PYTHON)]
    assert sizes[0] - sizes[1] <= 550_000_000
    find = "import importlib.util as u; print([m for m in ('tensorflow', 'keras', 'nncf') if u.find_spec(m)])"
    assert docker("run", "--rm", "--entrypoint", "python3", "catseye", "-c", find) == "[]"


def test_the_image_holds_what_its_bill_says(stack: Stack) -> None:
    listing = docker("run", "--rm", "--entrypoint", "python3", "catseye", "-m", "pip", "list", "--format", "json")
    found = {canonicalize_name(each["name"]): each["version"] for each in json.loads(listing)}
    base = docker("run", "--rm", PYTHON, "python3", "-m", "pip", "list", "--format", "json")
    of_base = {canonicalize_name(each["name"]) for each in json.loads(base)}
    locked = {each.name: each.version for each in locks.read("serving")}
    assert locked.items() <= found.items()
    assert found.keys() - locked.keys() - of_base == {"catseye"}


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
