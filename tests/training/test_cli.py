import subprocess
import sys
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from training.cli import app
from training.config import TrainSettings


def run(*words):
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, words)


def test_importing_the_commands_does_not_import_tensorflow():
    code = "import sys, training.cli; sys.exit(any(m in sys.modules for m in ('tensorflow', 'keras')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_backbones_by_wildcard():
    result = run("backbones", "resnet*")
    assert result.exit_code == 0
    assert "resnet152" in result.output
    assert "mobilenet" not in result.output
    assert run("backbones", "x*x*x").exit_code == 2


def test_an_empty_store_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path))
    assert "catseye train" in run("models").output


@pytest.mark.parametrize("columns", ["40", "80", "200"])
def test_each_model_is_a_whole_line_however_narrow_the_screen(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    tags = ["solar-cells-of-the-whole-northern-roof:20261125t220953-841dd9761", "pets:20261125t220953-0"]
    card = SimpleNamespace(backbone="mobilenet_v2", labels=("a", "b"), created=datetime(2026, 11, 25, tzinfo=UTC))
    card.metrics = SimpleNamespace(accuracy=0.5, accuracy_low=0.25, accuracy_high=0.75)
    monkeypatch.setattr(
        "models.store.store.list_models", lambda name: [SimpleNamespace(tag=tag, card=card) for tag in tags]
    )
    result = CliRunner(env={"COLUMNS": columns}).invoke(app, ["models"])
    lines = [line.split() for line in result.output.splitlines() if "2026" in line]
    rest = ["mobilenet_v2", "2", "50.0%", "25.0%", "to", "75.0%", "2026-11-25", "00:00"]
    assert lines == [[tag, *rest] for tag in tags]


@pytest.mark.parametrize("command", ["train", "distill", "compare"])
def test_options_are_the_settings(command):
    """Name, default and help of every option that is a setting."""
    options = {option.name: option for option in get_command(app).commands[command].params}
    own = {"train": {"resume", "data"}, "distill": {"teacher", "data", "name", "head_epochs", "epochs"}}
    fields = TrainSettings.model_fields
    shared = options.keys() - own.get(command, {"data"})
    assert shared <= fields.keys()
    for name in shared:
        option, field = options[name], fields[name]
        assert option.opts == ["--" + name.replace("_", "-")]
        assert option.help == field.description
        assert option.required == field.is_required()
        assert field.is_required() or option.default == field.default
    if command == "train":
        assert shared == fields.keys() - {"teacher", "temperature", "teacher_share"}


def test_bad_settings_are_one_sentence(tmp_path):
    result = run("train", str(tmp_path), "--name", "cats", "--slower", "5")
    assert result.exit_code == 2
    assert "Error: --slower is 5" in result.output
    assert "Traceback" not in result.output


def test_bad_data_is_one_sentence(tmp_path):
    result = run("train", str(tmp_path / "nothing"), "--name", "cats")
    assert result.exit_code == 2
    assert "There is nothing at" in result.output


def test_distilling_an_unknown_teacher_is_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path))
    result = run("distill", "nobody")
    assert result.exit_code == 2
    assert "Error: There is no model 'nobody'" in result.output


def test_comparing_nothing_is_one_sentence(tmp_path):
    result = run("compare", str(tmp_path / "nothing"), "--epochs", "1")
    assert result.exit_code == 2
    assert "There is nothing at" in result.output
