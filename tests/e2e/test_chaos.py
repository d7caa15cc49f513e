"""The short form of ``make chaos``: real faults on a real server with two workers."""

import pytest

from tests.chaos import plan

pytestmark = pytest.mark.long


def test_faults_lose_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path))
    rows = []
    plan.on_one_server(plan.short(), rows.append, timeout=30)  # CI may be slow
    assert [row for row in rows if not row.held] == []
    assert len(rows) == len(plan.short())


@pytest.mark.parametrize("cases", [3_000])
def test_images_broken_by_hypothesis_are_answered(cases):
    row = plan.hostility.fuzzed(cases)
    assert row.held, row
