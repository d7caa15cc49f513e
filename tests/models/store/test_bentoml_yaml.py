import pytest

from models.store.bentoml_yaml import bentoml_yaml, tag_of
from tests.support.cards import at, small_card


def test_what_bentoml_reads() -> None:
    text = bentoml_yaml(small_card(labels=("가", "나"), created=at(5), versions={"keras": "3"}), "v1")
    assert tag_of(text) == ("cells", "v1")
    assert "backbone: mobilenet_v2" in text
    assert "creation_time: '2026-01-01T00:00:05+00:00'" in text


@pytest.mark.parametrize("text", ["", "[]", "name: x", "name: ../x\nversion: v", "a: [", "name: 1\nversion: 2"])
def test_other_texts(text: str) -> None:
    with pytest.raises(ValueError, match="not a BentoML"):
        tag_of(text)
