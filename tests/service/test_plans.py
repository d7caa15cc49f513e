import pytest

from models.image import decode
from service import plans
from service.plans import Plan
from service.settings import Settings
from tests.models.networks import stored


@pytest.fixture
def settings(tmp_path):
    return Settings(home=tmp_path / "home")


def plan(ips, p50, **changes):
    return Plan.model_validate(
        {"streams": 1, "threads": 1, "batch": 1, "images_per_second": ips, "p50_ms": p50} | changes
    )


def test_of_plans_nearly_as_fast_the_one_with_the_lowest_latency_is_best():
    fastest, nearly, slow = plan(100, 50), plan(97, 10), plan(40, 1)
    assert plans.best([slow, fastest, nearly]) is nearly
    assert plans.best([slow]) is slow


def test_candidates_differ_and_hold_to_what_is_set(settings):
    for runtime in ("openvino", "tensorflow"):
        brief, long = (plans.candidates(Settings(runtime=runtime), brief=brief) for brief in (True, False))
        assert len(set(long)) == len(long) > len(brief) > 1
        for each in long:
            assert each.batch == 1 or each.threads >= 2 * each.batch
    fixed = plans.candidates(Settings(streams=3, threads=5, batch=1), brief=False)
    assert fixed == [Plan(streams=3, threads=5, batch=1)]


@pytest.mark.parametrize("runtime", ["openvino", "tensorflow"])
def test_measuring_gives_figures_for_each(runtime):
    tried = [Plan(streams=1, threads=2, batch=1), Plan(streams=1, threads=4, batch=2)]
    measured = list(plans.measure(stored("cnn"), Settings(runtime=runtime), tried, 0.05))
    assert [each.model_copy(update={"images_per_second": 0, "p50_ms": 0}) for each in measured] == tried
    assert all(each.images_per_second > 0 and each.p50_ms > 0 for each in measured)


def test_a_plan_is_measured_once_and_kept_for_the_same_network(settings, monkeypatch):
    model = stored("cnn")
    assert plans.plan_for(model, settings, 0) == plans.usual(settings)
    first = plans.plan_for(model, settings, 0.1)
    assert first.images_per_second > 0
    monkeypatch.setattr(plans, "measure", None)
    assert plans.plan_for(model, settings, 0.1) == first
    set_ = settings.model_copy(update={"streams": 7})
    assert plans.find_plan(model.card, set_).streams == 7
    other = Settings(home=settings.home, runtime="tensorflow")
    assert plans.find_plan(model.card, other) is None
    assert plans.find_plan(stored("mlp").card, settings) is None


def test_a_broken_plan_is_none_and_a_home_that_cannot_be_written_is_no_obstacle(settings, tmp_path):
    model = stored("cnn")
    path = plans.plan_path(model.card, settings)
    path.parent.mkdir(parents=True)
    path.write_text('{"streams": 0}')
    assert plans.find_plan(model.card, settings) is None
    (tmp_path / "file").touch()
    assert plans.plan_for(model, Settings(home=tmp_path / "file" / "home"), 0.1).images_per_second > 0


def test_workers_share_the_processors():
    assert plans.usual(Settings(workers=64)).streams == 1
    assert plans.usual(Settings()).streams == plans.processors()
    assert plans.usual(Settings(runtime="tensorflow")).batch > 1


def test_what_is_decoded_for_measuring_is_a_photograph_s_size():
    assert decode(plans._photograph()).shape == (480, 640, 3)
    assert 40_000 < len(plans._photograph()) < 150_000
