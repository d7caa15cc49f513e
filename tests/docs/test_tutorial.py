"""The tutorial and the guides: their commands run in order, as they are printed, in a folder like the reader's."""

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.images import png
from tests.support.servers import Live, start, stop

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

pytestmark = pytest.mark.long


def commands(page: str) -> list[str]:
    """Every line of every ``sh`` block, also of those inside a list."""
    text = (DOCS / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^( *)```sh\n(.*?)^\1```$", text, re.DOTALL | re.MULTILINE)
    return [line.strip() for _, block in blocks for line in block.splitlines() if line.strip()]


class Reader:
    """Someone who follows a page: a folder, an environment, and the service that was started last."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.live: Live | None = None
        for part, count in (("photographs", 12), ("holdout", 4)):
            for label, first in (("circle", 0), ("square", 100)):
                (folder / part / label).mkdir(parents=True)
                for number in range(1, count + 1):
                    seed = first + number + (50 if part == "holdout" else 0)
                    (folder / part / label / f"{number}.png").write_bytes(png(64, 64, seed))
        (folder / "photo.png").write_bytes(png(64, 64, 1))
        (folder / "docs").mkdir()
        shutil.copy(DOCS / "dog-breeds.txt", folder / "docs")
        programs = folder / "bin"
        programs.mkdir()
        for name, command in (("catseye", f'"{ROOT / "catseye.py"}"'), ("pip", "-m pip")):
            (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {command} "$@"\n')
            (programs / name).chmod(0o755)
        self.environment = os.environ | {
            "BENTOML_HOME": str(folder / "bentoml"),
            "CATSEYE_HOME": str(folder / ".catseye"),
            "PATH": f"{programs}:{os.environ['PATH']}",
        }

    def serve(self, words: list[str]) -> None:
        """Start the service with the variables before the command; the one before is ended."""
        self.close()
        settings = dict(word.split("=", 1) for word in words[: words.index("catseye")])
        key = settings.get("CATSEYE_API_KEYS", "")
        self.live = start(self.folder / "bentoml", command="catseye", key=key, **settings)

    def run(self, command: str) -> str:
        """Run one line where the reader is; curl fails where the answer is an error."""
        if self.live is not None:
            port = self.live.address.rpartition(":")[2]
            command = re.sub(r"\b3000\b", port, command)
        if command == "catseye import mine.bentomodel":
            command = f"BENTOML_HOME='{self.folder / 'production'}' {command}"  # the store of the other machine
        command = command.replace("curl ", "curl --fail-with-body -sS --retry 5 --retry-all-errors ")
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-ec", command],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout

    def follow(self, page: str) -> str:
        """Run every command of a page."""
        printed = ""
        for command in commands(page):
            words = shlex.split(command)
            if "catseye" in words and words[words.index("catseye") + 1] == "serve":
                self.serve(words)
            else:
                printed += self.run(command)
        return printed

    def close(self) -> None:
        """End the service."""
        if self.live is not None:
            stop(self.live)
            self.live = None


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    someone = Reader(tmp_path)
    yield someone
    someone.close()
    with suppress(FileNotFoundError, ProcessLookupError):
        os.kill(int((tmp_path / "haproxy.pid").read_text().split()[0]), 15)


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_the_tutorial(reader: Reader) -> None:
    printed = reader.follow("tutorial/index.md")
    assert '"label":"square"' in printed.replace(" ", "")
    assert "catseye_request_duration_seconds" in printed
    assert (reader.folder / "why.png").read_bytes().startswith(b"\x89PNG")
    assert (reader.folder / "mine.bentomodel").is_file()


def test_the_guides_on_weights_and_many_files(reader: Reader) -> None:
    reader.run("catseye train photographs --name mine --epochs 1 --head-epochs 2")
    reader.follow("how-to/own-weights.md")
    reader.follow("how-to/many-files.md")
    assert len((reader.folder / "results.jsonl").read_text().splitlines()) == 24


def test_the_guide_on_keras_models(reader: Reader) -> None:
    assert shutil.which("unzip"), "This test needs the program unzip. Install Debian's package of that name."
    assert "Stored dog-breeds:" in reader.follow("how-to/import-keras.md")


def test_the_guide_on_tls(reader: Reader) -> None:
    assert shutil.which("haproxy"), "This test needs the program haproxy. Install Debian's package of that name."
    reader.run("catseye train photographs --name mine --epochs 1 --head-epochs 2")
    page = (DOCS / "how-to" / "tls.md").read_text(encoding="utf-8")
    configuration = re.findall(r"^ {4}```haproxy\n(.*?)^ {4}```$", page, re.DOTALL | re.MULTILINE)[0]
    https = free_port()
    serve, certificate, joined, proxy, request = commands("how-to/tls.md")
    reader.serve(shlex.split(serve))
    assert reader.live is not None
    text = re.sub(r"^ {4}", "", configuration, flags=re.MULTILINE).replace("8443", str(https))
    (reader.folder / "haproxy.cfg").write_text(text.replace("127.0.0.1:3000", reader.live.address))
    for command in (certificate, joined, proxy, request.replace("8443", str(https))):
        printed = reader.run(command)
    assert '"predictions"' in printed
