import subprocess
import sys
import time

import pytest

from models.image.decode import decode
from service.inference import tuning
from service.inference.execution_plan import Plan, default_plan, find_plan
from service.settings import Settings
from tests.support.networks import stored


@pytest.fixture
def settings(tmp_path):
    return Settings(home=tmp_path / "home")


def plan(ips, p50, **changes):
    return Plan.model_validate(
        {"streams": 1, "threads": 1, "batch": 1, "images_per_second": ips, "p50_ms": p50} | changes
    )


def test_of_plans_nearly_as_fast_the_fastest_with_the_smallest_batch_is_best():
    fastest, nearly, better, slow = plan(100, 50, batch=16), plan(77, 10), plan(80, 20, threads=4), plan(40, 1)
    assert tuning.best([slow, fastest, nearly, better]) is better
    assert tuning.best([slow, fastest]) is fastest
    assert tuning.best([slow]) is slow


def test_candidates_differ_and_hold_to_what_is_set():
    for runtime in ("openvino", "tensorflow"):
        brief, long = (tuning.candidates(Settings(runtime=runtime), brief=brief) for brief in (True, False))
        assert len(set(long)) == len(long) > len(brief) > 1
        for each in long:
            assert each.batch == 1 or each.threads >= 2 * each.batch
        for values in ("threads", "batch", "wait_ms"):
            assert len({getattr(each, values) for each in long}) > 1
        # One start of TensorFlow has one division of the processors.
        assert len({each.streams for each in long}) == (1 if runtime == "tensorflow" else 2)
    fixed = tuning.candidates(Settings(streams=3, threads=5, batch=1, batch_wait_ms=7), brief=False)
    assert fixed == [Plan(streams=3, threads=5, batch=1, wait_ms=7)]


@pytest.mark.parametrize("runtime", ["openvino", "tensorflow"])
def test_measuring_gives_figures_for_each_and_is_interleaved(runtime):
    tried = [Plan(streams=1, threads=2, batch=1), Plan(streams=2, threads=4, batch=2, wait_ms=1)]
    turns = []
    measured = tuning.measure(stored("cnn"), Settings(runtime=runtime), tried, 0.06, lambda: turns.append(1))
    assert len(turns) == tuning.ROUNDS * len(tried)
    plain = {"images_per_second": 0, "p50_ms": 0, "provisional": False}
    assert [each.model_copy(update=plain) for each in measured] == tried
    assert all(each.images_per_second > 0 and each.p50_ms > 0 for each in measured)


def test_no_plan_has_more_callers_than_the_others(monkeypatch):
    seen = []
    times = tuning._times
    monkeypatch.setattr(
        tuning, "_times", lambda run, callers, seconds: seen.append(callers) or times(run, callers, seconds)
    )
    most = tuning.CALLERS * tuning.share(Settings())
    tried = [Plan(streams=1, threads=threads, batch=1) for threads in (1, most, 4 * most)]
    measured = tuning.measure(stored("cnn"), Settings(), tried, 0.01)
    assert seen == [1, most, most] * tuning.ROUNDS
    assert [each.threads for each in measured] == [1, most, 4 * most]


def test_a_plan_is_measured_once_and_kept_for_the_same_network(settings, monkeypatch):
    monkeypatch.setattr(tuning, "BUSY", 2.0)  # never: other tests may well run beside this one
    model = stored("cnn")
    assert tuning.plan_for(model, settings, 0) == default_plan(settings)
    first = tuning.plan_for(model, settings, 0.1)
    assert first.images_per_second > 0
    monkeypatch.setattr(tuning, "measure", None)
    assert tuning.plan_for(model, settings, 0.1) == first
    other = Settings(home=settings.home, runtime="tensorflow")
    assert find_plan(model.card, other) is None
    assert find_plan(stored("mlp").card, settings) is None


def test_a_plan_from_a_busy_machine_serves_and_is_measured_again(settings, monkeypatch):
    model = stored("cnn")
    monkeypatch.setattr(tuning, "BUSY", -1.0)  # always
    first = tuning.plan_for(model, settings, 0.1)
    assert first.provisional
    assert tuning.plan_for(model, settings, 0) == first
    monkeypatch.setattr(tuning, "BUSY", 2.0)
    second = tuning.plan_for(model, settings, 0.1)
    assert not second.provisional
    assert find_plan(model.card, settings) == second


def test_of_two_workers_one_measures(settings, monkeypatch):
    model, meanwhile = stored("cnn"), plan(50, 20)
    found = iter([None, meanwhile])
    monkeypatch.setattr(tuning, "find_plan", lambda *_: next(found))
    monkeypatch.setattr(tuning, "measure", None)
    assert tuning.plan_for(model, settings, 0.1) == meanwhile


def test_a_home_that_cannot_be_written_is_no_obstacle(tmp_path):
    (tmp_path / "file").touch()
    there = Settings(home=tmp_path / "file" / "home")
    assert tuning.plan_for(stored("cnn"), there, 0.1).images_per_second > 0


def test_work_of_others_is_seen():
    others = tuning.busy_by_others()
    child = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        time.sleep(1)
    finally:
        child.kill()
        child.wait()
    assert others() > 0.1


def test_what_is_decoded_for_measuring_is_a_photograph_s_size():
    assert decode(tuning._photograph()).shape == (480, 640, 3)
    assert 40_000 < len(tuning._photograph()) < 150_000
