from service import plans
from service.plans import Plan
from service.settings import Settings
from tests.models.networks import stored


def test_a_plan_is_kept_and_what_the_operator_set_goes_before_it(tmp_path):
    settings, card = Settings(home=tmp_path), stored("cnn").card
    kept = Plan(streams=1, threads=4, batch=8, wait_ms=5, images_per_second=100, p50_ms=3, provisional=True)
    plans.keep_plan(card, settings, kept)
    assert plans.find_plan(card, settings) == kept
    found = plans.find_plan(card, settings.model_copy(update={"streams": 7, "batch_wait_ms": 0.0}))
    assert found == kept.model_copy(update={"streams": 7, "wait_ms": 0.0})


def test_a_plan_of_before_there_were_waits_is_still_read(tmp_path):
    settings, card = Settings(home=tmp_path), stored("cnn").card
    path = plans.plan_path(card, settings)
    path.parent.mkdir(parents=True)
    path.write_text('{"streams": 2, "threads": 4, "batch": 1, "images_per_second": 10, "p50_ms": 9}')
    assert plans.find_plan(card, settings).wait_ms == plans.USUAL_WAIT_MS


def test_a_broken_plan_is_none(tmp_path):
    settings, card = Settings(home=tmp_path), stored("cnn").card
    path = plans.plan_path(card, settings)
    path.parent.mkdir(parents=True)
    path.write_text('{"streams": 0}')
    assert plans.find_plan(card, settings) is None


def test_a_home_that_cannot_be_written_is_said(tmp_path, caplog):
    (tmp_path / "file").touch()
    plans.keep_plan(stored("cnn").card, Settings(home=tmp_path / "file"), Plan(streams=1, threads=1, batch=1))
    assert "cannot be kept" in caplog.text


def test_workers_share_the_processors():
    assert plans.usual(Settings(workers=64)).streams == 1
    assert plans.usual(Settings()).streams == plans.processors()
    assert plans.usual(Settings(runtime="tensorflow")).batch > 1
    assert plans.usual(Settings(batch_wait_ms=9)).wait_ms == 9
