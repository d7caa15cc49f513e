"""What the serving image holds, how large it is, and what it does without compose."""

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from deploy import locks
from models.store import store
from models.store.archive import export_archive
from tests.support import ROOT
from tests.support.docker import composed, docker
from tests.support.kubernetes import pod
from tests.support.networks import fill_store

pytestmark = [pytest.mark.docker, pytest.mark.needs("docker", "docker-compose", "image-python")]
PYTHON = "python:3.11-slim-bookworm"


@pytest.fixture(scope="module", autouse=True)
def image() -> None:
    """Build it, or take what an earlier test has built."""
    with composed("image") as project:
        project.compose("build", "service")


def builds_with(kit: str, program: str, *arguments: str) -> bool:
    """Whether a docker client builds with BuildKit (1) or the classic builder (0)."""
    command = [program, "build", *arguments]
    return (
        subprocess.run(command, cwd=ROOT, env=os.environ | {"DOCKER_BUILDKIT": kit}, capture_output=True).returncode
        == 0
    )


@pytest.mark.parametrize("kit", ["0", "1"], ids=["classic", "buildkit"])
def test_either_builder_takes_the_dockerfile(kit: str) -> None:
    # Of two clients on a machine, the first on the PATH may be one without BuildKit.
    clients = [program for program in ("docker", "/usr/bin/docker") if shutil.which(program)]
    client = next(program for program in clients if builds_with(kit, program, "--help"))
    assert builds_with(kit, client, "--network", "host", "--target", "project", ".")


def test_it_is_small_and_has_no_tensorflow() -> None:
    sizes = [int(docker("image", "inspect", "-f", "{{.Size}}", name)) for name in ("catseye", PYTHON)]
    assert sizes[0] - sizes[1] <= 550_000_000
    find = "import importlib.util as u; print([m for m in ('tensorflow', 'keras', 'nncf') if u.find_spec(m)])"
    assert docker("run", "--rm", "--entrypoint", "python3", "catseye", "-c", find) == "[]"


def test_it_holds_what_its_bill_says() -> None:
    listing = docker("run", "--rm", "--entrypoint", "python3", "catseye", "-m", "pip", "list", "--format", "json")
    found = {canonicalize_name(each["name"]): each["version"] for each in json.loads(listing)}
    base = docker("run", "--rm", PYTHON, "python3", "-m", "pip", "list", "--format", "json")
    of_base = {canonicalize_name(each["name"]) for each in json.loads(base)}
    locked = {each.name: each.version for each in locks.read("serving")}
    assert locked.items() <= found.items()
    assert found.keys() - locked.keys() - of_base == {"catseye"}


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a web server with the folder's files."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_a_pod_s_init_container_fetches_a_model_into_an_empty_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_store(tmp_path / "made")
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "made"))
    export_archive("shapes", tmp_path / "shapes.bentomodel")
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume").chmod(0o777)
    container = pod("overlays/object-storage")["initContainers"][0]
    program, *words = container["command"] + container["args"]
    with served(tmp_path) as address:
        given = "-e", f"MODEL_URL={address}/shapes.bentomodel", "-v", f"{tmp_path / 'volume'}:/var/lib/catseye"
        hardened = "--read-only", "--tmpfs", "/tmp:mode=1777", "--cap-drop", "ALL", "--network", "host"
        docker("run", "--rm", *hardened, *given, "--entrypoint", program, "catseye", *words)
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "volume" / "bentoml"))
    assert [model.card.name for model in store.list_models()] == ["shapes"]
