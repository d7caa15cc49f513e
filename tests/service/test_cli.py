import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import catseye
from tests.support.images import jpeg
from tests.support.networks import stored

ROOT = Path(__file__).parents[2]


@pytest.fixture
def photographs(monkeypatch, tmp_path):
    """A folder with two photographs and a file that is none, and a store with one model."""
    monkeypatch.setenv("BENTOML_HOME", str(stored("cnn").path.parents[2]))
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "사진 folder"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(jpeg(40, 40, seed=1))
    (folder / "b.jpg").write_bytes(b"not an image")
    (folder / "c.jpg").write_bytes(jpeg(40, 40, seed=2))
    return folder


def run(*arguments: object) -> int:
    """Run a command line as the installed script does, and give its exit code."""
    with pytest.raises(SystemExit) as ended:
        catseye.main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


def test_classify_goes_on_after_a_bad_file_and_lists_it(photographs, capsys):
    assert run("classify", photographs, "--top-k", 3) == 1
    out, err = capsys.readouterr()
    lines = [json.loads(line) for line in out.splitlines()]
    assert [Path(line["path"]).name for line in lines] == ["a.jpg", "b.jpg", "c.jpg"]
    assert len(lines[0]["predictions"]) == 3
    assert "1 of 3 files" in err
    assert "b.jpg" in err


def test_classify_to_a_csv_file(photographs):
    (photographs / "b.jpg").unlink()
    assert run("classify", photographs, "--format", "csv", "-o", "out.csv") == 0
    assert len(Path("out.csv").read_text("utf-8").splitlines()) == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("classify", ".", "--model", "nobody"), "nobody"),
        (("classify", ".", "-o", "no/such/folder"), "no/such/folder cannot be written"),
        (("features", "사진 folder/a.jpg", "--layer", "nowhere"), "nowhere"),
        (("features", "사진 folder/a.jpg", "-o", "maps.gif"), "png, npz or json"),
        (("features", "missing.jpg"), "No such file"),
        (("features", ".", "-o", "maps.npz"), "Name a folder"),
    ],
)
def test_mistakes_end_in_one_sentence(photographs, capsys, arguments, words):
    assert run(*arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith("catseye: ")
    assert words in err
    assert "Traceback" not in err


@pytest.mark.parametrize("command", ["classify", "features"])
def test_an_unknown_format_names_the_known_ones(photographs, capsys, command):
    assert run(command, ".", "--format", "xml") == 2
    err = capsys.readouterr().err
    assert all(word in err for word in ("--format", "xml", "csv" if command == "classify" else "npz"))


def test_features_by_the_name_of_the_output(photographs):
    assert run("features", photographs / "a.jpg", "--layer", 0, "--channels", "0-3", "-o", "maps.npz") == 0
    name = stored("cnn").card.taps[0].name
    with np.load("maps.npz", allow_pickle=False) as arrays:
        assert arrays[name].shape[2] == 4
    assert run("features", photographs / "a.jpg", "--format", "json", "--layer", name, "--channels", "strongest:2") == 0
    assert json.loads(Path("a-features.json").read_bytes())["layers"][0]["name"] == name
    assert run("features", photographs / "a.jpg") == 0
    assert Path("a-features.png").read_bytes().startswith(b"\x89PNG")


def test_features_of_a_folder_go_on_after_a_bad_file_and_list_it(photographs, capsys):
    assert run("features", photographs, "--channels", "0-3", "-o", "maps") == 1
    out, err = capsys.readouterr()
    assert out == "maps\n"
    assert sorted(path.name for path in Path("maps").iterdir()) == ["a.jpg.png", "c.jpg.png"]
    assert "b.jpg" in err
    assert "1 of 3 files could not be read" in err
    (photographs / "b.jpg").unlink()
    assert run("features", photographs / "a.jpg", photographs / "c.jpg", "--format", "npz") == 0
    assert sorted(path.name for path in Path("features").iterdir()) == ["a.jpg.npz", "c.jpg.npz"]


def test_a_bad_setting_stops_the_command_and_is_named(photographs, capsys, monkeypatch):
    monkeypatch.setenv("CATSEYE_MAX_BODY_MB", "plenty")
    for command in (("classify", "."), ("serve",)):
        assert run(*command) == 2
        assert "CATSEYE_MAX_BODY_MB" in capsys.readouterr().err


def test_the_commands_need_no_tensorflow():
    code = "import service.cli, service.offline.classify, service.process.supervisor, sys; "
    code += "print(*{'tensorflow', 'keras'} & {*sys.modules})"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (0, "\n"), ended.stderr


def test_tune_prints_a_table_keeps_the_plan_and_draws_it(photographs, monkeypatch, tmp_path, capsys):
    home = tmp_path / "tuned"
    for key, value in {"HOME": home, "STREAMS": 1, "BATCH_WAIT_MS": 1, "THREADS": 2}.items():
        monkeypatch.setenv(f"CATSEYE_{key}", str(value))
    assert run("tune", "--seconds", 0.05) == 0
    out = capsys.readouterr().out
    assert "chosen" in out
    assert [path.suffix for path in sorted((home / "plans").iterdir())] == [".json", ".png"]
    assert run("tune", "--seconds", 0.05, "--plot", photographs / "a.jpg" / "plot.png") == 2
    assert "plot.png" in capsys.readouterr().err
