import json

import pytest

from models.errors import BadParameter, StoreError
from training import runs
from training.config import TrainSettings


@pytest.fixture(autouse=True)
def _home(monkeypatch, tmp_path):
    monkeypatch.setenv("CATSEYE_HOME", str(tmp_path))


def test_a_run_keeps_its_settings_and_two_in_one_second_differ(tmp_path):
    settings = TrainSettings(name="cats", seed=3)
    first, second = (runs.new_run(settings, tmp_path / "data") for _ in range(2))
    assert first != second
    assert runs.read_settings(first) == (settings, tmp_path / "data")


def test_the_newest_unfinished_run_is_found(tmp_path):
    settings = TrainSettings(name="cats")
    first, second = (runs.new_run(settings, tmp_path) for _ in range(2))
    assert runs.unfinished_run("cats") == second
    (second / "checkpoint-head.npz").write_bytes(b"")
    runs.mark_done(second, "cats:1")
    assert not list(second.glob("*.npz"))
    assert runs.unfinished_run("cats") == first
    with pytest.raises(BadParameter, match="no unfinished run of 'dogs'"):
        runs.unfinished_run("dogs")


@pytest.mark.parametrize("broken", ['{"settings": {"name": "cats", "speed": 1}, "data": "x"}', "no json", "[]"])
def test_a_run_that_cannot_be_read_does_not_keep_others_from_being_resumed(tmp_path, capsys, broken):
    good, bad = (runs.new_run(TrainSettings(name="cats"), tmp_path) for _ in range(2))
    (bad / "settings.json").write_text(broken)
    assert runs.unfinished_run("cats") == good
    assert f"Skipped the run in {bad}" in capsys.readouterr().out.replace("\n", "")


def test_a_run_of_another_model_is_not_mentioned(tmp_path, capsys):
    good, other = (runs.new_run(TrainSettings(name=name), tmp_path) for name in ("cats", "dogs"))
    settings = other / "settings.json"
    settings.write_text(settings.read_text().replace('"seed"', '"sown"'))
    assert runs.unfinished_run("cats") == good
    assert capsys.readouterr().out == ""


def test_settings_of_an_older_version_are_read(tmp_path):
    """As the first versions wrote them: whole numbers where there are floats now, and fewer keys."""
    folder = runs.new_run(TrainSettings(name="cats"), tmp_path)
    old = {
        "name": "cats",
        "freeze": "most",
        "slower": 50,
        "dropout": 0,
        "size": None,
        "mirror": "all",
        "augment": "flip",
    }
    (folder / "settings.json").write_text(json.dumps({"settings": old, "data": str(tmp_path)}))
    settings, _ = runs.read_settings(folder)
    assert settings == TrainSettings(name="cats", freeze="most", slower=50, dropout=0, mirror="all", augment="flip")


def test_changed_images_are_not_resumed(tmp_path):
    runs.pin_data(tmp_path, "a" * 64)
    runs.pin_data(tmp_path, "a" * 64)
    with pytest.raises(BadParameter, match="changed"):
        runs.pin_data(tmp_path, "b" * 64)


def test_a_run_is_worked_on_by_one_process_at_a_time(tmp_path):
    settings = TrainSettings(name="cats")
    first, second = (runs.new_run(settings, tmp_path) for _ in range(2))
    with runs.held(second):
        assert runs.unfinished_run("cats") == first
        with pytest.raises(BadParameter, match="still going on"), runs.held(second):
            pass
        with runs.held(first), pytest.raises(BadParameter, match="still going on"):
            runs.unfinished_run("cats")
    assert runs.unfinished_run("cats") == second


def test_a_home_that_cannot_be_written_is_one_clear_error(monkeypatch, tmp_path):
    (tmp_path / "home").write_text("a file where the folder should be")
    monkeypatch.setenv("CATSEYE_HOME", str(tmp_path / "home"))
    with pytest.raises(StoreError, match="CATSEYE_HOME"):
        runs.new_run(TrainSettings(name="cats"), tmp_path)
