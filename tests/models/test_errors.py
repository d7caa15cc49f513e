"""The error contract: every class its status and its stable code."""

import re

import pytest

from models import errors
from models.errors import CatseyeError

CONTRACT = {
    ("bad_image", 400), ("unauthorized", 401), ("unknown_model", 404), ("unknown_layer", 404), ("slow_body", 408),
    ("too_large", 413),
    ("too_many_pixels", 413), ("unsupported_media", 415), ("bad_parameter", 422), ("bad_data", 422),
    ("weights_unavailable", 422), ("store_error", 500), ("overloaded", 503), ("draining", 503), ("timed_out", 504),
}  # fmt: skip


def _tree(root: type[CatseyeError] = CatseyeError) -> list[type[CatseyeError]]:
    return [found for child in root.__subclasses__() for found in (child, *_tree(child))]


def test_codes_and_statuses_are_the_contract() -> None:
    ours = {(kind.code, kind.status) for kind in _tree() if kind.__module__ == errors.__name__}
    assert ours == CONTRACT


@pytest.mark.parametrize("kind", _tree(), ids=lambda kind: kind.__name__)
def test_every_error_can_be_told_to_people_and_to_programs(kind: type[CatseyeError]) -> None:
    error = kind("The box is empty. Fill it.")
    assert error.detail == str(error) == "The box is empty. Fill it."
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", error.code)
    assert error.title[0].isupper()
    assert not error.title.endswith(".")
    assert (kind.__doc__ or "").strip().endswith(".")


def test_no_two_errors_share_a_code() -> None:
    codes = [kind.code for kind in _tree()]
    assert len(codes) == len(set(codes))


def test_the_base_is_an_internal_error() -> None:
    assert (CatseyeError.status, CatseyeError.code) == (500, "internal")


def test_who_is_sent_away_is_told_when_to_come_back() -> None:
    assert errors.Overloaded("Full. Wait.").retry_after == 1.0
    assert errors.Draining("Closing. Ask another server.", retry_after=7.5).retry_after == 7.5
    assert issubclass(errors.Draining, errors.Overloaded)
