import numpy as np
import pytest

from benchmarks import elpv
from models.store import store
from tests.support.cards import small_card


def test_unsure_cells_in_three_scorings():
    margin, probability = np.array([1.0, -1.0, -1.0, 1.0]), np.array([1.0, 0.33, 0.0, 0.67])
    found = {scoring: elpv.figures(margin, probability, scoring)["accuracy"] for scoring in elpv.SCORINGS}
    assert found["unweighted"] == 0.75
    assert found["weighted"] == pytest.approx(2.67 / 3, abs=1e-5)
    assert found["majority"] == 1.0


def row(way, seed, accuracy, scoring="weighted"):
    measures = dict.fromkeys(elpv.MEASURES, accuracy)
    return {"way": way, "seed": seed, "cells": "all", "scoring": scoring, "seconds": 9, "cpu_seconds": 8} | measures


def test_gains_are_paired_by_seed_and_carry_an_interval():
    rows = [row("probe", seed, value, s) for s in elpv.SCORINGS for seed, value in ((11, 0.80), (23, 0.84))]
    rows += [row("flips", seed, value, s) for s in elpv.SCORINGS for seed, value in ((11, 0.82), (23, 0.86))]
    lines = list(elpv.report(rows))
    assert "| weighted | all | probe | 2 | 82.0 ±25.4 | 82.0 ±25.4 | 82.0 ±25.4 | 82.0 ±25.4 |" in lines
    assert "| flips after probe | +2.0 ±0.0 | +2.0 ±0.0 | +2.0 ±0.0 |" in lines
    assert "probe: 9 s a seed by the clock, 8 s of processor time." in lines


def test_one_seed_has_no_interval():
    assert elpv.spread([0.825]) == "82.5 (one seed)"


def test_rows_are_read_as_they_were_written(monkeypatch, tmp_path):
    monkeypatch.setattr(elpv, "RESULTS", tmp_path / "elpv.csv")
    assert elpv.known() == []
    elpv.write_table(elpv.RESULTS, [row("probe", 11, 0.8)])
    assert elpv.known() == [row("probe", 11, 0.8)]


def test_a_teacher_is_the_tuned_network_of_the_seed_with_the_same_settings(monkeypatch, tmp_path):
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path))
    assert elpv.taught_by(11) is None

    def keep(settings):
        return store.save(small_card("elpv-tuned-11", settings=settings.as_dict()), lambda folder: None)

    as_now = elpv.TUNED.with_changes(name="elpv-tuned-11", seed=11)
    kept = keep(as_now)
    keep(as_now.with_changes(epochs=3))
    assert elpv.taught_by(11) == kept.tag
    assert elpv.taught_by(23) is None
