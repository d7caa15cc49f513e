"""The guide's own commands and Python, run as they are printed against the running service."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.images import png

GUIDE = (Path(__file__).parents[2] / "docs" / "reference" / "http.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", GUIDE, re.S | re.M)
COMMANDS = [text for kind, text in BLOCKS if kind == "sh"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("guide")
    (folder / "cell.png").write_bytes(png(80, 80, seed=8))
    (folder / "notes.txt").write_text("no image")
    return folder


def here(text, live):
    """The guide's text with this server's address and model in place of the guide's."""
    text = text.replace("localhost:3000", live.address).replace("solar-cells", live.model)
    return text.replace("label=defective", "label=cat").replace('"label": "defective"', '"label": "cat"')


@pytest.mark.needs("bash", "curl")
@pytest.mark.parametrize("command", COMMANDS, ids=lambda text: text.splitlines()[0][:60])
def test_commands_are_answered(live, folder, command):
    strict = "set -o pipefail; " + here(command, live).replace("curl ", "curl --silent --show-error --fail-with-body ")
    done = subprocess.run(["bash", "-c", strict], cwd=folder, capture_output=True, timeout=60)
    # The one command that shows an error sends a file that is no image.
    assert done.returncode == (22 if "--data-binary @notes.txt" in command else 0), done.stdout + done.stderr


def test_python_runs_from_top_to_bottom(live, folder):
    program = "\n".join(here(text, live) for kind, text in BLOCKS if kind == "python")
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "cosine similarity" in done.stdout
    assert (folder / "edges.png").read_bytes().startswith(b"\x89PNG")


def test_answers_in_the_guide_are_json():
    for kind, text in BLOCKS:
        if kind == "json":
            json.loads(text)


def test_pictures_in_the_guide_exist():
    for path in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", GUIDE):
        assert (Path(__file__).parents[2] / "docs" / "reference" / path).is_file()
