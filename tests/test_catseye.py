"""One command line for training and service, each imported only when it is called."""

import importlib
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import catseye

ROOT = Path(__file__).parents[1]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``catseye`` as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "catseye", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120
    )


def modules_after(*arguments: str) -> set[str]:
    """Which modules a command line has imported when it ends."""
    code = f"""
import sys, catseye
try:
    catseye.main({list(arguments)!r})
except SystemExit:
    pass
print("modules:", *sys.modules)
"""
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(result.stdout.splitlines()[-1].split())


def test_help_lists_every_command() -> None:
    result = run("--help")
    assert result.returncode == 0
    for name, command in catseye.COMMANDS.items():
        assert f"│ {name} " in result.stdout
        assert command.help.split()[0] in result.stdout


@pytest.mark.parametrize("module", ["training.cli", "service.cli"])
def test_the_list_has_the_commands_of_both_packages(module: str) -> None:
    app = importlib.import_module(module).app
    have = {command.name or command.callback.__name__ for command in app.registered_commands}
    assert {name for name, command in catseye.COMMANDS.items() if command.module == module} == have


@pytest.mark.parametrize("name", catseye.COMMANDS)
def test_every_command_has_a_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        catseye.main([name, "--help"])
    assert ended.value.code == 0
    assert f"catseye {name}" in capsys.readouterr().out


def test_help_imports_neither_package() -> None:
    loaded = modules_after("--help")
    assert not loaded & {"training.cli", "service.cli", "tensorflow", "keras", "bentoml", "openvino"}


def test_a_command_imports_its_own_package_only() -> None:
    assert {"training.cli"} == modules_after("backbones", "--help") & {"training.cli", "service.cli", "tensorflow"}
    assert {"service.cli"} == modules_after("classify", "--help") & {"training.cli", "service.cli", "tensorflow"}


def test_version() -> None:
    assert run("--version").stdout.strip() == f"catseye {version('catseye')}"


def test_an_unknown_command_names_the_near_one() -> None:
    result = run("trian")
    assert result.returncode == 2
    assert "train" in result.stderr


@pytest.mark.parametrize(
    "line",
    [
        ("classify", "no-such-file.png"),
        ("train", "no-such-folder", "--name", "x"),
        ("features", "no-such-file.png"),
    ],
)
def test_a_mistake_of_the_user_is_a_sentence_and_no_traceback(
    line: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An empty store: with a model, classify would list the missing file, go on and end with 1 (tests/service).
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path))
    result = run(*line)
    assert result.returncode == 2
    assert "Traceback" not in result.stdout + result.stderr
    assert result.stderr.strip()


def test_a_broken_module_of_ours_is_no_missing_extra() -> None:
    assert catseye._missing_extra(ModuleNotFoundError(name="keras.layers")) == "train"
    assert catseye._missing_extra(ModuleNotFoundError(name="orjson")) == "serve"
    assert catseye._missing_extra(ModuleNotFoundError(name="models.nothing")) is None


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder with the distribution's files, as an installation has them."""
    for package in ("models", "service", "training"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "catseye.py", tmp_path)
    return tmp_path


def installed_run(folder: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    words = [sys.executable, "-m", "catseye", "models"]
    return subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)


def one_sentence(done: subprocess.CompletedProcess[str], folder: Path) -> bool:
    named = done.stderr.startswith(f"catseye: {folder} is not catseye's package of that name.")
    return done.returncode == 2 and named and done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["models", "service", "training"])
def test_a_package_of_another_distribution_is_named_in_a_sentence(installed: Path, tmp_path: Path, name: str) -> None:
    """It used to end in a traceback, or in what the other package does when it is imported."""
    (installed / name / "__init__.py").write_text("raise RuntimeError('imported')")
    assert one_sentence(installed_run(installed, installed), installed / name)


@pytest.mark.parametrize("contents", [{}, {"__init__.py": "raise RuntimeError('imported')"}])
def test_a_folder_of_that_name_where_it_runs(
    installed: Path, tmp_path_factory: pytest.TempPathFactory, contents: dict[str, str]
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "models").mkdir()
    for name, text in contents.items():
        (elsewhere / "models" / name).write_text(text)
    done = installed_run(installed, elsewhere)
    if contents:
        assert one_sentence(done, elsewhere / "models")
    else:  # no package, so it is not in the way
        assert done.returncode == 0, done.stderr
