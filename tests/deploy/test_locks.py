"""What the images are installed from: every file by its hash, the versions of requirements.lock, nothing missing."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, requires

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy import locks
from deploy.sbom import IMAGES
from tests.support import ROOT

LOCKS = (*IMAGES, "build")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PYTHON = {
    "implementation_name": "cpython",
    "os_name": "posix",
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "python_full_version": "3.11.2",
    "python_version": "3.11",
    "sys_platform": "linux",
}
"""The images', for the conditions of requirements."""


def known_versions() -> dict[str, str]:
    """The versions of requirements.lock by package."""
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pairs = [line.split("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def closure(asked: list[str], machine: str) -> set[str]:
    """The packages that requirements need, with all that those need, as the packages installed here say."""
    place = PYTHON | {"platform_machine": machine}
    seen: set[tuple[str, str]] = set()
    left = [(Requirement(text), "") for text in asked]
    while left:
        requirement, extra = left.pop()
        if requirement.marker and not requirement.marker.evaluate(place | {"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        for wanted in {"", *requirement.extras}:
            if (name, wanted) not in seen:
                seen.add((name, wanted))
                try:
                    left += [(Requirement(text), wanted) for text in requires(name) or []]
                except PackageNotFoundError:
                    assert name == "setuptools"  # needs nothing, and newer Pythons' environments come without it
    return {name for name, _ in seen}


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_is_versions_with_hashes_and_nothing_else(lock: str) -> None:
    entry = r"[a-z0-9-]+==[A-Za-z0-9.+!]+( \\\n    --hash=sha256:[0-9a-f]{64})+\n"
    assert re.fullmatch(rf"(#[^\n]*\n)*({entry})+", (locks.FOLDER / f"{lock}.lock").read_text())


@pytest.mark.parametrize("lock", LOCKS)
def test_versions_are_those_that_are_known_to_work(lock: str) -> None:
    known = known_versions()
    assert {each.name: each.version for each in locks.read(lock)} == {
        each.name: known[each.name] for each in locks.read(lock)
    }


def test_training_adds_to_serving_and_changes_nothing() -> None:
    serving, training = ({each.name: each.version for each in locks.read(lock)} for lock in ("serving", "training"))
    assert serving.items() < training.items()


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize(("lock", "extras"), IMAGES.items())
def test_a_lock_is_complete_and_holds_nothing_else(lock: str, extras: tuple[str, ...], machine: str) -> None:
    optional = PROJECT["project"]["optional-dependencies"]
    asked = PROJECT["project"]["dependencies"] + [text for extra in extras for text in optional[extra]]
    assert {each.name for each in locks.read(lock)} == closure(asked, machine)


def test_what_builds_the_project_is_locked() -> None:
    asked = [Requirement(text) for text in PROJECT["build-system"]["requires"]]
    found = {each.name: each.version for each in locks.read("build")}
    assert found.keys() == {canonicalize_name(requirement.name) for requirement in asked}
    assert all(requirement.specifier.contains(found[requirement.name]) for requirement in asked)


def test_images_take_nothing_from_an_index_without_a_hash() -> None:
    commands = re.findall(r"pip (?:install|wheel).*", (ROOT / "Dockerfile").read_text())
    assert len(commands) == 6
    hashed = [command for command in commands if "--require-hashes --only-binary :all: -r" in command]
    assert len(hashed) == 3
    assert all("--no-index --no-deps" in command for command in commands if command not in hashed)
