"""The house itself: floors that hold, a mirror for every module, nothing of one machine in the tree."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = ("models", "training", "service")
REGISTRY_HOSTS = re.compile(r"pypi\.org|pythonhosted\.org|registry\.npmjs|deb\.debian\.org")
MACHINE_PATHS = re.compile(r"(^|[^a-zA-Z0-9._-])/(work|farm)/")


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter on a folder that holds the floors and a pyproject.toml."""
    return subprocess.run(
        [sys.executable, "-c", "from importlinter import cli; cli.lint_imports_command()", "--no-cache"],
        cwd=folder,
        capture_output=True,
        text=True,
    )


def tracked_files() -> list[Path]:
    """Every file that git tracks, or every file outside of hidden folders where there is no git."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listing.returncode == 0:
        return [ROOT / name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]
    return [path for path in ROOT.rglob("*") if path.is_file() and "/." not in str(path.relative_to(ROOT.parent))]


def test_the_floors_hold() -> None:
    result = lint_imports(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("floor", "line"),
    [
        ("models", "import training"),
        ("training", "from service import settings"),
        ("service", "import training"),
        ("service", "import tensorflow"),
        ("models", "import catseye"),
    ],
)
def test_a_breach_of_the_floors_is_seen(tmp_path: Path, floor: str, line: str) -> None:
    for name in FLOORS:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    (tmp_path / "service" / "settings.py").touch()
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / floor / "room.py").write_text(line + "\n")
    result = lint_imports(tmp_path)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "BROKEN" in result.stdout


@pytest.mark.parametrize("floor", FLOORS)
def test_every_module_has_its_mirror(floor: str) -> None:
    modules = [path for path in (ROOT / floor).rglob("*.py") if path.name != "__init__.py"]
    mirrors = [ROOT / "tests" / path.relative_to(ROOT).with_name(f"test_{path.name.lstrip('_')}") for path in modules]
    assert modules
    assert [str(mirror.relative_to(ROOT)) for mirror in mirrors if not mirror.is_file()] == []


@pytest.mark.parametrize("floor", FLOORS)
def test_importing_a_floor_costs_no_tensorflow(floor: str) -> None:
    code = f"import {floor}, sys; sys.exit(any(m in sys.modules for m in ('tensorflow', 'keras', 'bentoml')))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_tracked_files_name_no_registry_host_and_no_path_of_one_machine() -> None:
    found = []
    for path in tracked_files():
        if path == Path(__file__):
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if REGISTRY_HOSTS.search(line) or MACHINE_PATHS.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    assert found == []


def test_the_lock_holds_versions_only() -> None:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    entries = [line for line in lines if line and not line.startswith("#")]
    assert len(entries) > 100
    assert [line for line in entries if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!_-]+", line)] == []
