import json
import math
from datetime import datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from models.card import CARD_SCHEMA, Card, read_card
from models.errors import StoreError
from tests.support.cards import small_card


def test_a_card_survives_json(tmp_path: Path) -> None:
    card = small_card(labels=("고양이", "개"), settings={"epochs": 3}, served_precision="bfloat16")
    (tmp_path / "card.json").write_text(card.model_dump_json(), encoding="utf-8")
    assert read_card(tmp_path / "card.json") == card
    assert card.created.tzinfo is not None


def test_an_unchanged_card_is_read_once_and_a_changed_one_again(tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    path.write_text(small_card().model_dump_json())
    assert read_card(path) is read_card(path)
    path.write_text(small_card("others").model_dump_json())
    assert read_card(path).name == "others"


@pytest.mark.parametrize(
    "change",
    [
        {"labels": ("one",)},
        {"labels": ("same", "same")},
        {"temperature": 0},
        {"temperature": math.inf},
        {"created": datetime(2026, 1, 1)},
        {"served_precision": "int4"},
    ],
)
def test_impossible_cards(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        small_card(**change)


def test_unknown_keys_of_later_versions_are_ignored() -> None:
    card = small_card()
    values = json.loads(card.model_dump_json()) | {"new": 1}
    assert Card.model_validate(values) == card


def test_broken_cards_are_named(tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    values = json.loads(small_card().model_dump_json())
    for text, message in (
        ("", "the file: Invalid JSON"),
        ("{}", "name: Field required"),
        (json.dumps(values | {"labels": 3}), "labels: Input should be"),
        (json.dumps(values | {"schema_version": CARD_SCHEMA + 1}), "newer catseye"),
    ):
        path.write_text(text)
        with pytest.raises(StoreError, match=message):
            read_card(path)
    with pytest.raises(StoreError, match="cannot be read: No such file"):
        read_card(tmp_path / "gone")
