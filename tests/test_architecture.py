"""The house itself: floors that hold, a mirror for every module, nothing of one machine in the tree."""

import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("models", "training", "service")
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
    command = ["git", "ls-files", "-z"]
    listing = shutil.which("git") and subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if listing and listing.returncode == 0:
        return [ROOT / name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]
    return [path for path in ROOT.rglob("*") if path.is_file() and "/." not in str(path.relative_to(ROOT.parent))]


def test_the_layers_hold() -> None:
    result = lint_imports(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("folder", "line"),
    [
        ("models", "import training.config"),
        ("training", "from service import settings"),
        ("service", "import training.config"),
        ("service", "import tensorflow"),
        ("models", "import catseye"),
        ("models/store", "import models.runtime.base"),
        ("training/data", "import training.fit.trainer"),
        ("service/inference", "import starlette"),
        ("service/inference", "import service.routes.classify"),
    ],
)
def test_an_import_across_the_layers_is_seen(tmp_path: Path, folder: str, line: str) -> None:
    for name in PACKAGES:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("page", "__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / folder / "__init__.py").write_text(line + "\n")
    result = lint_imports(tmp_path)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "BROKEN" in result.stdout


def product_modules() -> list[Path]:
    """Every module of the three packages."""
    return [path for name in PACKAGES for path in (ROOT / name).rglob("*.py") if path.name != "__init__.py"]


def test_every_package_has_its_tests() -> None:
    folders = {path.parent.relative_to(ROOT) for path in product_modules()}
    assert folders
    assert [str(folder) for folder in sorted(folders) if not list((ROOT / "tests" / folder).glob("test_*.py"))] == []


def test_no_folder_holds_more_than_16_modules_and_no_module_more_than_350_lines() -> None:
    modules = product_modules()
    folders = Counter(str(path.parent.relative_to(ROOT)) for path in modules)
    assert {folder: count for folder, count in folders.items() if count > 16} == {}
    lengths = {str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines()) for path in modules}
    assert {path: length for path, length in lengths.items() if length > 350} == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_a_package_costs_no_tensorflow(package: str) -> None:
    code = f"import {package}, sys; sys.exit(any(m in sys.modules for m in ('tensorflow', 'keras', 'bentoml')))"
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
