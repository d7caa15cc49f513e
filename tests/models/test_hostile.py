"""Every broken or evil image is answered by an error of ours or a whole array, in bounded time and memory."""

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.errors import CatseyeError
from models.image.decode import Limits, decode
from tests.support import bombs, hostile, images
from tests.support.hostile import INSIDES, MARKS, MOST_MEMORY_KB, WHOLE

HANG = 240
"""Seconds after which something has certainly hung; the corpus takes about ten."""


def _answer(data: bytes) -> None:
    """Decode, and hold the answer to the contract."""
    refused = None
    try:
        pixels = decode(data, (16, 16), Limits(max_pixels=200_000, max_frames=50))
    except CatseyeError as error:
        refused = error
    if refused is None:
        assert pixels.shape == (16, 16, 3)
        assert pixels.dtype == np.uint8
    else:
        assert 400 <= refused.status < 500
        assert not INSIDES.search(refused.detail)


@pytest.fixture(scope="module")
def run() -> dict[str, Any]:
    """What a process of its own made of the whole corpus."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.hostile"], capture_output=True, text=True, timeout=HANG, check=False
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_the_corpus_is_large_and_its_names_differ(run: dict[str, Any]) -> None:
    assert run["files"] == len(run["outcomes"]) > 500


def test_every_hostile_image_is_answered(run: dict[str, Any]) -> None:
    for name, outcome in run["outcomes"].items():
        if isinstance(outcome, dict):
            assert outcome["status"] in (400, 413), (name, outcome)
            assert outcome["code"] in ("bad_image", "too_large", "too_many_pixels"), (name, outcome)
            detail = outcome["detail"]
            assert detail.count(". ") >= 1, (name, detail)
            assert detail.endswith("."), (name, detail)
            assert not INSIDES.search(detail), (name, detail)
        else:
            assert outcome == [224, 224, 3, "uint8"], (name, outcome)


def test_bombs_by_pixels_and_frames_are_too_many_pixels(run: dict[str, Any]) -> None:
    for name, _ in (*bombs.too_many_pixels(), *bombs.too_many_frames()):
        assert run["outcomes"][name]["code"] == "too_many_pixels", name


def test_strangers_are_bad_images(run: dict[str, Any]) -> None:
    for name, _ in hostile.strangers():
        assert run["outcomes"][name]["status"] in (400, 413), name


def test_whole_images_of_every_shape_and_kind_are_read(run: dict[str, Any]) -> None:
    for name, _ in (*hostile.shapes(), *hostile.turned(), *images.unusual().items()):
        assert isinstance(run["outcomes"][name], list), name


def test_memory_stays_bounded(run: dict[str, Any]) -> None:
    assert run["peak_kb"] < MOST_MEMORY_KB


def test_pillow_leaves_no_trace_of_the_files_in_this_process(run: dict[str, Any]) -> None:
    assert run["remembered_warnings"] == 0


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(MARKS), st.binary(max_size=300))
@example(b"GIF89a", b"\1\0\1\0\x80\0\0")
@example(b"", b"")
def test_any_bytes(mark: bytes, rest: bytes) -> None:
    _answer(mark + rest)


@settings(deadline=None, max_examples=600)
@given(
    st.sampled_from(WHOLE),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=6)), max_size=6),
    st.floats(0, 1),
    st.sampled_from(["overwrite", "insert", "remove"]),
    st.booleans(),
)
def test_real_files_with_changes(
    data: bytes, changes: list[tuple[float, bytes]], cut: float, how: str, in_head: bool
) -> None:
    changed = bytearray(data)
    for place, piece in changes:
        at = int(place * (min(len(changed), 80) if in_head else len(changed)))
        changed[at : at + (0 if how == "insert" else len(piece))] = b"" if how == "remove" else piece
    _answer(bytes(changed[: max(1, int(len(changed) * cut))] if cut > 0.3 else changed))


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(WHOLE), st.sampled_from(WHOLE), st.floats(0, 1), st.floats(0, 1))
def test_two_real_files_spliced(one: bytes, other: bytes, first: float, second: float) -> None:
    _answer(one[: int(len(one) * first)] + other[int(len(other) * second) :])
