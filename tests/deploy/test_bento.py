"""``bentoml build``: a bento with the right packages, which serves the store's models."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import httpx
import pytest
import yaml

from tests.support import ROOT
from tests.support.images import png
from tests.support.networks import fill_store
from tests.support.servers import free_port
from tests.support.waiting import wait_for


def test_the_packages_are_those_of_the_serve_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    bento = yaml.safe_load((ROOT / "bentofile.yaml").read_text())
    assert bento["python"]["packages"] == project["dependencies"] + project["optional-dependencies"]["serve"]


@pytest.mark.long
def test_a_bento_is_built_and_serves(tmp_path: Path) -> None:
    fill_store(tmp_path / "home")
    environment = os.environ | {"BENTOML_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-m", "bentoml", "build", "--version", "test", "--output", "tag"]
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    bento = tmp_path / "home" / "bentos" / "catseye" / "test"
    files = {str(path.relative_to(bento / "src")) for path in (bento / "src").rglob("*.py")}
    assert {"service/app.py", "models/store/store.py"} <= files
    assert not [name for name in files if name.startswith(("training", "tests", "."))]
    port = free_port()
    command = [sys.executable, "-m", "bentoml", "serve", "catseye:test", "--host", "127.0.0.1", "--port", str(port)]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for("ready", lambda: httpx.get(f"{url}/readyz", timeout=2).status_code == 200, 120)
        assert httpx.post(f"{url}/v1/classify", content=png(40, 40)).json()["model"] == "shapes"
    finally:
        process.terminate()
        process.wait(60)
