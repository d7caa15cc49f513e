"""Programs that tests need beside Python: found, or the tests are skipped by name with the line that installs them.

``CATSEYE_TESTS_NEED`` (``all``, or names separated by commas) makes a missing program a failure instead of a skip.
"""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")
"""Where Debian puts servers; the PATH of a user who is not root leaves these out."""


@dataclass(frozen=True)
class Program:
    """How a program is found, and how it is installed where it is missing."""

    find: Callable[[], str | None]
    install: str
    everywhere: bool = True
    """Whether every machine can have it; else ``all`` does not ask for it."""


def on_path(*names: str) -> Callable[[], str | None]:
    """Look for the first of these programs that is there."""
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), *SYSTEM_FOLDERS))
    return lambda: next((found for name in names if (found := shutil.which(name, path=path))), None)


def works(*command: str, seconds: float = 60) -> Callable[[], str | None]:
    """The program, where this command of it succeeds."""

    def find() -> str | None:
        program = on_path(command[0])()
        if program is None:
            return None
        try:
            done = subprocess.run([program, *command[1:]], capture_output=True, timeout=seconds)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return program if done.returncode == 0 else None

    return find


def chromium() -> str | None:
    """A Chromium or Chrome on the PATH, or the one that Playwright has downloaded."""
    if found := on_path("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")():
        return found
    from playwright.sync_api import Error, sync_playwright

    try:
        with sync_playwright() as playwright:
            path = playwright.chromium.executable_path
    except (Error, OSError):
        return None
    return path if Path(path).exists() else None


def compose() -> str | None:
    """Docker's compose plugin, or the program that came before it."""
    return (works("docker", "compose", "version")() and "docker compose") or on_path("docker-compose")()


def faketime() -> str | None:
    """The library of libfaketime for programs with several threads."""
    return next(map(str, Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")), None)


def kubectl_line() -> str:
    """Debian has no package of it."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    site = "https://dl.k8s.io/release/v1.32.4/bin/linux"
    return f"curl -Lo /usr/local/bin/kubectl {site}/{machine}/kubectl && chmod +x /usr/local/bin/kubectl"


def image(name: str) -> Callable[[], str | None]:
    """A Docker image that is here or can be pulled."""

    def find() -> str | None:
        here = works("docker", "image", "inspect", name)() or works("docker", "pull", "--quiet", name, seconds=600)()
        return here and name

    return find


PYTHON_IMAGE, PROMETHEUS_IMAGE = "python:3.11-slim-bookworm", "prom/prometheus:v2.53.5"
PROGRAMS = {
    "bash": Program(on_path("bash"), "apt-get install bash"),
    "chromium": Program(chromium, f"apt-get install chromium (or {sys.executable} -m playwright install chromium)"),
    "curl": Program(on_path("curl"), "apt-get install curl"),
    "docker": Program(works("docker", "info"), "apt-get install docker.io, and start dockerd"),
    "docker-compose": Program(compose, "apt-get install docker-compose"),
    "haproxy": Program(on_path("haproxy"), "apt-get install haproxy"),
    "kubectl": Program(works("kubectl", "kustomize", "--help"), kubectl_line()),
    "libfaketime": Program(faketime, "apt-get install faketime"),
    "make": Program(on_path("make"), "apt-get install make"),
    "prometheus": Program(on_path("prometheus"), "apt-get install prometheus"),
    "promtool": Program(on_path("promtool"), "apt-get install prometheus"),
    "unshare": Program(
        works("unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"),
        "apt-get install util-linux, and allow user namespaces",
        everywhere=False,
    ),
    "image-python": Program(image(PYTHON_IMAGE), f"docker pull {PYTHON_IMAGE}", everywhere=False),
    "image-prometheus": Program(image(PROMETHEUS_IMAGE), f"docker pull {PROMETHEUS_IMAGE}", everywhere=False),
}


@cache
def find(name: str) -> str | None:
    """The program's path, or None where there is none."""
    return PROGRAMS[name].find()


def missing(name: str) -> str:
    """The sentence about a program that is not there."""
    return f"{name} not found. Install: {PROGRAMS[name].install}"


def need(name: str) -> str:
    """The program's path; without the program, the test that runs is skipped, or fails where it is asked for."""
    if path := find(name):
        return path
    asked = os.environ.get("CATSEYE_TESTS_NEED", "").split(",")
    if name in asked or ("all" in asked and PROGRAMS[name].everywhere):
        pytest.fail(missing(name), pytrace=False)
    pytest.skip(missing(name))
