"""``make demo`` and ``catseye serve`` in a folder of any name."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from models.card import DataFingerprint
from tests.support.checkout import FOLDER, copy_checkout
from tests.support.images import png
from tests.support.networks import fill_store
from tests.support.programs import need
from tests.support.servers import free_port, serving
from tests.support.waiting import wait_for
from training.examples import solar_cells

pytestmark = pytest.mark.needs("make", "bash")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_checkout(tmp_path_factory.mktemp("anywhere") / FOLDER)


@contextmanager
def make_demo(checkout: Path, home: Path, seconds: float) -> Iterator[tuple[str, Path]]:
    """``make demo`` until it serves: its address, and what it has printed."""
    port, log = free_port(), home.parent / "make demo.log"
    scratch = home.parent / FOLDER
    scratch.mkdir(exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("CATSEYE_", "MAKE"))}
    environment |= {"BENTOML_HOME": str(home), "CATSEYE_DRAIN_SECONDS": "0", "TMPDIR": str(scratch)}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [need("make"), "demo", f"PORT={port}"],
            cwd=checkout,
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    url = f"http://localhost:{port}"

    def serves() -> bool:
        assert process.poll() is None, log.read_text()[-4000:]
        return httpx.get(f"{url}/readyz", timeout=2).status_code == 200

    try:
        wait_for("make demo", serves, seconds)
        yield url, log
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does
        process.wait(60)


def try_it(checkout: Path, url: str, log: Path) -> None:
    """The line that the demo prints, run where it is printed."""
    (line,) = re.findall(r"^ +(curl .*)$", log.read_text(), re.M)
    assert url.removeprefix("http://") in line
    (checkout / ".catseye" / "samples").mkdir(parents=True, exist_ok=True)
    sample = checkout / ".catseye" / "samples" / "defective-1.png"
    if not sample.exists():
        sample.write_bytes(png(60, 60))
    if "curl" in line:
        need("curl")
    answer = subprocess.run(["bash", "-c", f"{line} -sS --fail"], cwd=checkout, capture_output=True, text=True)
    assert '"model":"solar-cells"' in answer.stdout, answer.stderr


def test_make_demo_serves_a_model_that_is_trained_and_prints_a_line_to_try(checkout: Path, tmp_path: Path) -> None:
    data = DataFingerprint(name="elpv", images=1, classes={"label 0": 1}, sha256=solar_cells.DATA_SHA256)
    home = tmp_path / "a store's home"
    fill_store(home, solar_cells.NAME, settings=solar_cells.SETTINGS.as_dict(), data=data)
    (checkout / ".catseye" / "samples").mkdir(parents=True)
    with make_demo(checkout, home, 120) as (url, log):
        try_it(checkout, url, log)


@pytest.mark.parametrize("command", ["catseye", "bentoml"])
def test_serving_from_there(checkout: Path, tmp_path: Path, command: str) -> None:
    """Both ways to start it; the end-to-end tests start ``catseye serve``."""
    fill_store(tmp_path / FOLDER, "shapes")
    with serving(tmp_path / FOLDER, command=command, root=checkout, python=checkout / ".venv/bin/python") as live:
        assert live.client.post("/v1/classify", content=png(40, 40)).json()["model"] == "shapes"


@pytest.mark.parametrize("target", ["help", "venv", "serve", "test", "test-long", "lint", "chaos", "soak"])
def test_make_has_its_targets_there(checkout: Path, target: str) -> None:
    done = subprocess.run([need("make"), "-n", target], cwd=checkout, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
