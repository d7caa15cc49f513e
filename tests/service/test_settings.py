import pytest

from models.errors import BadParameter
from service.settings import Settings, read_settings


def test_defaults_and_units():
    settings = read_settings()
    assert settings.max_body_bytes == 20_000_000
    assert settings.limits.max_pixels == 50_000_000
    assert settings.max_bodies_bytes == 256_000_000
    assert Settings(max_bodies_mb=1, max_body_mb=30).max_bodies_bytes == 30_000_000  # one always fits


def test_lists_and_shares_are_read_from_text(monkeypatch):
    monkeypatch.setenv("CATSEYE_MODELS", " cells, pets:v1 ,")
    monkeypatch.setenv("CATSEYE_CANARY", "cells=10, pets=2.5")
    monkeypatch.setenv("CATSEYE_API_KEYS", "s3cret-a,s3cret-b")
    settings = read_settings()
    assert settings.models == ("cells", "pets:v1")
    assert settings.canary == {"cells": 10, "pets": 2.5}
    assert [key.get_secret_value() for key in settings.api_keys] == ["s3cret-a", "s3cret-b"]
    assert "s3cret" not in repr(settings)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("CATSEYE_WORKERS", "0"),
        ("CATSEYE_RUNTIME", "torch"),
        ("CATSEYE_MAX_BODY_MB", "much"),
        ("CATSEYE_CANARY", "cells=200"),
        ("CATSEYE_TIMEOUT", "-1"),
        ("CATSEYE_HANG_SECONDS", "2"),
    ],
)
def test_a_bad_value_names_its_key(monkeypatch, key, value):
    monkeypatch.setenv(key, value)
    with pytest.raises(BadParameter, match=key):
        read_settings()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, []),
        ({"runtime": "tensorflow", "precision": "int8"}, ["CATSEYE_PRECISION"]),
        ({"runtime": "tensorflow", "precision": "float32"}, []),
        ({"default_model": "cells:v1"}, ["CATSEYE_DEFAULT_MODEL"]),
        (
            {"models": ("cells:v1", "pets"), "canary": {"cells": 10, "pets": 10}},
            ["CATSEYE_CANARY has no effect on cells:"],
        ),
        ({"max_body_mb": 300}, ["CATSEYE_MAX_BODIES_MB"]),
    ],
)
def test_a_setting_that_others_override_is_said(changes, said):
    sentences = Settings(**changes).ineffective()
    assert len(sentences) == len(said)
    assert all(word in sentence for word, sentence in zip(said, sentences, strict=True))
