"""The serving install, in a clean environment as a user makes it: no TensorFlow, and complete without it."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SHIPPED = ("models", "training", "service", "catseye.py", "pyproject.toml", "README.md", "LICENSE")

IMPORT_ALL = """
import importlib, json, pkgutil, sys
import catseye, models, service
names = [info.name for package in (models, service)
         for info in pkgutil.walk_packages(package.__path__, package.__name__ + ".")]
failed = {}
for name in names:
    try:
        importlib.import_module(name)
    except Exception as error:
        failed[name] = f"{type(error).__name__}: {error}"
loaded = sorted(name for name in ("tensorflow", "keras", "nncf", "sklearn", "matplotlib") if name in sys.modules)
print(json.dumps({"names": names, "failed": failed, "loaded": loaded, "home": service.__file__}))
"""
OF_TRAINING = re.compile(r"ModuleNotFoundError: No module named '(tensorflow|keras|h5py|nncf)'")
"""Why a module of the ground floor that only training asks for may fail to import there."""


pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of an environment that holds ``catseye[serve]`` and nothing else."""
    source = tmp_path_factory.mktemp("source with spaces")
    for name in SHIPPED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    folder = tmp_path_factory.mktemp("serving")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    install = ["install", "--quiet", "--no-compile", "-c", str(ROOT / "requirements.lock"), f"{source}[serve]"]
    subprocess.run([folder / "bin" / "python", "-m", "pip", *install], check=True)
    return folder / "bin"


def run(program: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a program outside of the checkout, so that only what was installed can be imported."""
    return subprocess.run([program, *arguments], cwd=cwd, capture_output=True, text=True)


def test_the_serving_install_holds_no_training_library(serving: Path, tmp_path: Path) -> None:
    installed = json.loads(run(serving / "python", "-m", "pip", "list", "--format=json", cwd=tmp_path).stdout)
    names = {package["name"].lower() for package in installed}
    assert {"catseye", "bentoml", "openvino", "fastapi"} <= names
    assert names & {"tensorflow", "keras", "nncf", "scikit-learn", "matplotlib"} == set()


def test_every_module_that_serving_needs_imports_without_tensorflow(serving: Path, tmp_path: Path) -> None:
    result = run(serving / "python", "-c", IMPORT_ALL, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout.splitlines()[-1])
    assert str(ROOT) not in answer["home"]
    assert "service.app" in answer["names"]
    assert answer["loaded"] == []
    assert [name for name in answer["failed"] if name.startswith("service")] == []
    assert {name: why for name, why in answer["failed"].items() if not OF_TRAINING.match(why)} == {}
    light = {"errors", "card", "image.decode", "store.store", "store.archive", "runtime.base", "network.backbones"}
    assert {f"models.{name}" for name in light} & answer["failed"].keys() == set()


@pytest.mark.parametrize("command", ["serve", "classify", "features", "tune"])
def test_the_commands_of_serving_work_there(serving: Path, tmp_path: Path, command: str) -> None:
    result = run(serving / "catseye", command, "--help", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert f"catseye {command}" in result.stdout


def test_a_training_command_says_how_to_install_training(serving: Path, tmp_path: Path) -> None:
    (tmp_path / "photographs").mkdir()
    result = run(serving / "catseye", "train", "photographs", "--name", "x", cwd=tmp_path)
    assert result.returncode == 2
    assert "catseye[train]" in result.stderr
    assert "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_the_page_is_part_of_the_install(serving: Path, tmp_path: Path) -> None:
    code = "import pathlib, service; print((pathlib.Path(service.__file__).parent / 'page').is_dir())"
    assert run(serving / "python", "-c", code, cwd=tmp_path).stdout.strip() == "True"
