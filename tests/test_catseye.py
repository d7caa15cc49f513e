"""The roof: one command for all floors, each imported only when it is called."""

import importlib
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


def test_help_lists_every_command_of_both_floors() -> None:
    result = run("--help")
    assert result.returncode == 0
    for name, command in catseye.COMMANDS.items():
        assert f"│ {name} " in result.stdout
        assert command.help.split()[0] in result.stdout


@pytest.mark.parametrize("module", ["training.cli", "service.cli"])
def test_the_roof_lists_what_the_floors_have(module: str) -> None:
    app = importlib.import_module(module).app
    have = {command.name or command.callback.__name__ for command in app.registered_commands}
    assert {name for name, command in catseye.COMMANDS.items() if command.module == module} == have


@pytest.mark.parametrize("name", catseye.COMMANDS)
def test_every_command_has_a_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        catseye.main([name, "--help"])
    assert ended.value.code == 0
    assert f"catseye {name}" in capsys.readouterr().out


def test_help_imports_neither_floor() -> None:
    loaded = modules_after("--help")
    assert not loaded & {"training.cli", "service.cli", "tensorflow", "keras", "bentoml", "openvino"}


def test_a_command_imports_its_own_floor_only() -> None:
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


def test_a_broken_module_of_ours_is_not_taken_for_a_missing_extra() -> None:
    assert catseye._missing_extra(ModuleNotFoundError(name="keras.layers")) == "train"
    assert catseye._missing_extra(ModuleNotFoundError(name="orjson")) == "serve"
    assert catseye._missing_extra(ModuleNotFoundError(name="models.nothing")) is None
