import asyncio
import time

import numpy as np
import pytest
from prometheus_client import REGISTRY

from models.errors import BadImage, Overloaded, TimedOut, UnknownModel
from models.image.decode import decode
from models.store import store
from service.inference.execution_plan import Plan
from service.inference.pipeline import Pipeline, _within
from service.inference.response_cache import ResponseCache
from service.inference.served_model import ServedModel
from service.settings import Settings
from tests.support.images import jpeg, png
from tests.support.networks import stored, with_card


def soon(seconds=60.0):
    return time.monotonic() + seconds


def pixels(served):
    return np.zeros((1, *served.card.input_size, 3), np.uint8)


@pytest.fixture(scope="module", params=["openvino", "tensorflow"])
def pipeline(request):
    model = stored("cnn")
    before, store.list_models = store.list_models, lambda name=None: [model]
    import service.inference.registry as registry

    kept, registry.list_models = registry.list_models, store.list_models
    made = Pipeline(Settings(runtime=request.param, queue=1000, access_log=False))
    made.registry.refresh()
    with asyncio.Runner() as runner:
        # One loop for all tests, as in the server: a model's queue belongs to its loop.
        made.run = runner.run
        yield made
    made.close()
    store.list_models, registry.list_models = before, kept


def test_an_image_is_answered_as_the_network_alone_answers_it(pipeline):
    data = png(40, 50, seed=3)
    served = pipeline.find(None)
    answer = pipeline.run(pipeline.answer(served, data, deadline=soon()))
    pixels = decode(data, served.card.input_size)
    assert answer.outputs["logits"] == pytest.approx(served.run(pixels[None], ("logits",))["logits"][0], abs=1e-4)
    assert answer.probabilities.sum() == pytest.approx(1, abs=1e-5)
    assert {"decode", "queue", "inference"} <= set(answer.seconds)


def test_every_reply_belongs_to_its_request(pipeline):
    files = [jpeg(40, 40, seed=number) for number in range(24)]
    served = pipeline.find(None)
    alone = [pipeline.run(pipeline.answer(served, file, deadline=soon())).outputs["logits"] for file in files]

    async def together():
        return await asyncio.gather(*(pipeline.answer(served, files[n % 24], deadline=soon()) for n in range(480)))

    for number, answer in enumerate(pipeline.run(together())):
        assert np.allclose(answer.outputs["logits"], alone[number % 24], atol=1e-3)


def test_a_broken_image_fails_alone(pipeline):
    served = pipeline.find(None)

    async def together():
        files = [png(30, 30), b"no image", png(30, 30)]
        return await asyncio.gather(
            *(pipeline.answer(served, file, deadline=soon()) for file in files), return_exceptions=True
        )

    first, second, third = pipeline.run(together())
    assert isinstance(second, BadImage)
    assert np.allclose(first.probabilities, third.probabilities)


def test_an_expired_request_is_not_run(pipeline):
    served = pipeline.find(None)
    with pytest.raises(TimedOut):
        pipeline.run(pipeline.answer(served, png(30, 30), deadline=time.monotonic()))
    with pytest.raises(TimedOut):
        pipeline.run(pipeline.infer(served, pixels(served), ("logits",), deadline=time.monotonic()))


def test_latency_is_measured_before_the_first_request(pipeline):
    served = pipeline.find(None)
    assert 0 < served.latency_ms()["p50"] <= served.latency_ms()["p95"]
    assert pipeline.choose(None, None, None, 1e6)[1].startswith("the accurate variant's p95")


def test_the_most_accurate_variant_that_fits_the_budget_is_chosen_by_measured_latency():
    plan = Plan(streams=1, threads=1, batch=1)
    accurate = ServedModel(stored("cnn"), Settings(), plan)
    fast = ServedModel(with_card(stored("cnn"), variant_of="network"), Settings(), plan)
    for _ in range(600):
        accurate.record(0.2)
        fast.record(0.02)
    for budget, chosen, why in [
        (250, accurate, "the accurate variant's p95 of 200 ms fits the budget of 250 ms"),
        (200, accurate, "the accurate variant's p95 of 200 ms fits the budget of 200 ms"),
        (100, fast, "the accurate variant's p95 of 200 ms is over the budget of 100 ms"),
        (10, fast, "no variant fits 10 ms (accurate 200 ms, fast 20 ms), so the faster one answers"),
    ]:
        assert _within(budget, accurate, fast) == (chosen, why)
    assert _within(10, accurate, None) == (accurate, "no variant fits 10 ms (p95 200 ms), and there is no fast one")


def test_whose_queue_is_full_is_known_before_the_body_is_read(pipeline, monkeypatch):
    served = pipeline.find(None)
    assert pipeline.refusal(None, None, None, None, "me") is None
    monkeypatch.setattr(type(served.queue), "full", property(lambda queue: True))
    who, error = pipeline.refusal(None, None, None, None, "me")
    assert who is served
    assert "0 images wait" in error.detail
    with pytest.raises(UnknownModel):
        pipeline.refusal("nobody", None, None, None, "me")
    monkeypatch.setattr(pipeline, "_cache", ResponseCache(1.0))
    assert pipeline.refusal(None, None, None, None, "me") is None  # the cache may have the answer


def test_what_expires_while_it_is_at_hand_is_not_run(pipeline, monkeypatch):
    """Those ahead wait for a thread, not at the gate."""
    served = pipeline.find(None)
    ran = []
    plain = served.answer
    monkeypatch.setattr(served, "answer", lambda *arguments: ran.append(1) or plain(*arguments))

    async def behind_slow_work():
        slow = [
            asyncio.create_task(pipeline._in_thread(lambda cancelled: time.sleep(0.4))) for _ in range(served.slots)
        ]
        await asyncio.sleep(0.05)
        with pytest.raises(TimedOut):
            await pipeline.answer(served, png(30, 30), deadline=soon(0.1))
        await asyncio.gather(*slow)

    pipeline.run(behind_slow_work())
    assert ran == []
    assert served.queue.admitted == 0


def counted(served, sample, **labels):
    found = REGISTRY.get_sample_value(sample, {"model": served.name, "variant": served.variant, **labels})
    return found or 0.0


def test_pixels_are_counted_in_the_metrics_as_images_are(pipeline):
    served = pipeline.find(None)
    images = np.concatenate([pixels(served), pixels(served) + 200])

    def counts():
        labels = {"version": served.version}
        return (
            sum(counted(served, "catseye_predictions_total", label=label, **labels) for label in served.card.labels),
            counted(served, "catseye_prediction_confidence_count"),
            counted(served, "catseye_stage_duration_seconds_count", stage="inference"),
            counted(served, "catseye_stage_duration_seconds_count", stage="queue"),
        )

    before = counts()
    found = pipeline.run(pipeline.infer(served, images, ("logits", "embedding"), deadline=soon()))
    assert set(found) == {"logits", "embedding"}
    assert [now - then for now, then in zip(counts(), before, strict=True)] == [2, 2, 1, 1]


def test_drawing_short_of_memory_is_overload(pipeline):
    def work():
        raise MemoryError

    with pytest.raises(Overloaded, match="memory"):
        pipeline.run(pipeline.render(work, deadline=soon(), pixels=1))
