import pytest

from models.errors import BadParameter
from training.config import TrainSettings, catseye_home


def test_settings_survive_being_written_down():
    settings = TrainSettings(name="cats", freeze="few", mirror="all", size=96, seed=7)
    assert TrainSettings.from_dict(settings.as_dict()) == settings


def test_fine_tuning_is_ten_to_a_hundred_times_slower():
    assert TrainSettings(name="x").slower == 100
    for slower in (9.9, 101):
        with pytest.raises(BadParameter, match="--slower is"):
            TrainSettings(name="x", slower=slower)


@pytest.mark.parametrize(
    ("key", "value"),
    [("freeze", "some"), ("mirror", "up"), ("depths", "two"), ("epochs", -1), ("batch_size", 0), ("dropout", 1.0)],
)
def test_a_bad_value_names_its_key(key, value):
    with pytest.raises(BadParameter, match=f"--{key.replace('_', '-')} is .*Use "):
        TrainSettings(name="x", **{key: value})


def test_an_unknown_key_is_refused_by_name():
    with pytest.raises(BadParameter, match="'speed'"):
        TrainSettings.from_dict({"name": "x", "speed": 1})


def test_home_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("CATSEYE_HOME", str(tmp_path))
    assert catseye_home() == tmp_path
    monkeypatch.delenv("CATSEYE_HOME")
    assert catseye_home().name == ".catseye"
