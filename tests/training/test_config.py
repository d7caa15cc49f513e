import pytest

from models.errors import BadParameter
from training.config import TrainSettings, cache_limit, catseye_home


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


def test_changed_settings_are_checked_too():
    settings = TrainSettings(name="x", seed=3)
    assert settings.with_changes(slower=50) == TrainSettings(name="x", seed=3, slower=50)
    with pytest.raises(BadParameter, match="--slower is 5"):
        settings.with_changes(slower=5)


@pytest.mark.parametrize(("text", "limit"), [(None, 10**10), ("", 10**10), ("2.5", 2_500_000_000), ("0", 0)])
def test_the_cache_is_limited_by_the_environment(monkeypatch, text, limit):
    monkeypatch.delenv("CATSEYE_CACHE_GB", raising=False)
    if text is not None:
        monkeypatch.setenv("CATSEYE_CACHE_GB", text)
    assert cache_limit() == limit


@pytest.mark.parametrize("text", ["-1", "much", "inf", "nan"])
def test_a_wrong_cache_limit_names_the_variable(monkeypatch, text):
    monkeypatch.setenv("CATSEYE_CACHE_GB", text)
    with pytest.raises(BadParameter, match="CATSEYE_CACHE_GB is"):
        cache_limit()


def test_an_unknown_key_is_refused_by_name():
    with pytest.raises(BadParameter, match="'speed'"):
        TrainSettings.from_dict({"name": "x", "speed": 1})


def test_home_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("CATSEYE_HOME", str(tmp_path))
    assert catseye_home() == tmp_path
    monkeypatch.delenv("CATSEYE_HOME")
    assert catseye_home().name == ".catseye"
