"""The commands of the README run, in order and as they are printed."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.support import ROOT
from tests.support.images import png
from tests.support.networks import fill_store
from tests.support.servers import Live, serving
from tests.support.waiting import wait_for

README = (ROOT / "README.md").read_text(encoding="utf-8")
WITH_DOCKER = {"docker compose up"}
"""Run by tests/deploy/test_compose.py."""
STARTED = {"catseye serve"}
"""Started by the fixture, on a free port."""


def commands() -> list[str]:
    """Every line of every shell block."""
    blocks = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


@dataclass
class Reader:
    """Someone who follows the README: a folder, an environment, a running service."""

    folder: Path
    environment: dict[str, str]
    server: Live

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command where the reader stands."""
        return subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True)

    def here(self, text: str) -> str:
        """The README's text with this test's port."""
        return text.replace("localhost:3000", self.server.url.removeprefix("http://"))


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """A folder as ``make demo`` and the reader's camera leave it, and the service of ``make demo``."""
    folder = tmp_path_factory.mktemp("reader")
    samples = folder / ".catseye" / "samples"
    samples.mkdir(parents=True)
    for name in ("defective-1", "functional-1"):
        (samples / f"{name}.png").write_bytes(png(300, 300))
    for label, seeds in (("circle", range(10)), ("square", range(10, 20))):
        (folder / "photographs" / label).mkdir(parents=True)
        for number, seed in enumerate(seeds, 1):
            (folder / "photographs" / label / f"{number}.png").write_bytes(png(64, 64, seed))
    fill_store(folder / "bentoml", "solar-cells")
    programs = folder / "bin"
    programs.mkdir()
    (programs / "catseye").write_text(f'#!/bin/sh\nexec "{sys.executable}" "{ROOT / "catseye.py"}" "$@"\n')
    (programs / "catseye").chmod(0o755)
    environment = os.environ | {"BENTOML_HOME": str(folder / "bentoml"), "PATH": f"{programs}:{os.environ['PATH']}"}
    del environment["CATSEYE_HOME"]
    with serving(folder / "bentoml", CATSEYE_DEFAULT_MODEL="solar-cells") as server:
        yield Reader(folder, environment, server)


@pytest.mark.long
@pytest.mark.needs("bash", "curl", "make")
def test_the_commands_run_in_order(reader: Reader) -> None:
    for command in commands():
        if command.startswith("make "):
            result = subprocess.run(["make", "-n", *command.split()[1:]], cwd=ROOT, capture_output=True, text=True)
            assert result.returncode == 0, result.stderr
        elif command.startswith("docker"):
            assert command in WITH_DOCKER
        elif command.startswith("pip install "):
            # All of it is installed here, so pip resolves only; tests/test_packaging.py installs into a clean one.
            options = shlex.split(command)[2:]
            pip = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-build-isolation", *options]
            result = subprocess.run(pip, cwd=ROOT, capture_output=True, text=True)
            assert result.returncode == 0, result.stderr
        elif command in STARTED:
            assert httpx.get(f"{reader.server.url}/livez").status_code == 200
        else:
            if "model=mine" in command:
                wait_for("mine", lambda: "mine" in httpx.get(f"{reader.server.url}/v1/models").text, 30)
            result = reader.run("bash", "-ec", reader.here(command.replace("curl ", "curl --fail-with-body -sS ")))
            assert result.returncode == 0, f"{command}\n{result.stdout[-2000:]}{result.stderr[-2000:]}"
    for picture in ("maps.png", "why.png"):
        assert (reader.folder / picture).read_bytes().startswith(b"\x89PNG")
