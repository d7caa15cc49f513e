from service.inference import execution_plan
from service.inference.execution_plan import Plan
from service.settings import Settings
from tests.support.networks import stored


def test_a_plan_is_kept_and_what_the_operator_set_goes_before_it(tmp_path):
    settings, card = Settings(home=tmp_path), stored("cnn").card
    kept = Plan(streams=1, threads=4, batch=8, wait_ms=5, images_per_second=100, p50_ms=3, provisional=True)
    execution_plan.keep_plan(card, settings, kept)
    assert execution_plan.find_plan(card, settings) == kept
    found = execution_plan.find_plan(card, settings.model_copy(update={"streams": 7, "batch_wait_ms": 0.0}))
    assert found == kept.model_copy(update={"streams": 7, "wait_ms": 0.0})


def test_a_plan_of_before_there_were_waits_is_still_read(tmp_path):
    settings, card = Settings(home=tmp_path), stored("cnn").card
    path = execution_plan.plan_path(card, settings)
    path.parent.mkdir(parents=True)
    path.write_text('{"streams": 2, "threads": 4, "batch": 1, "images_per_second": 10, "p50_ms": 9}')
    assert execution_plan.find_plan(card, settings).wait_ms == execution_plan.DEFAULT_WAIT_MS


def test_a_broken_plan_is_none(tmp_path):
    settings, card = Settings(home=tmp_path), stored("cnn").card
    path = execution_plan.plan_path(card, settings)
    path.parent.mkdir(parents=True)
    path.write_text('{"streams": 0}')
    assert execution_plan.find_plan(card, settings) is None


def test_a_home_that_cannot_be_written_is_said(tmp_path, caplog):
    (tmp_path / "file").touch()
    execution_plan.keep_plan(stored("cnn").card, Settings(home=tmp_path / "file"), Plan(streams=1, threads=1, batch=1))
    assert "cannot be kept" in caplog.text


def test_workers_share_the_processors():
    assert execution_plan.default_plan(Settings(workers=64)).streams == 1
    assert execution_plan.default_plan(Settings()).streams == execution_plan.processors()
    assert execution_plan.default_plan(Settings(runtime="tensorflow")).batch > 1
    assert execution_plan.default_plan(Settings(batch_wait_ms=9)).wait_ms == 9
