import asyncio
import io

import pytest
from PIL import Image

from models.errors import Overloaded
from service.application import create_web
from service.asgi.drain import Drain
from service.asgi.middleware import ServiceMiddleware
from service.fast_path import FastPath
from service.inference.pipeline import Pipeline
from service.metrics import REGISTRY
from service.settings import Settings
from tests.support.images import jpeg

PHOTOGRAPH = jpeg(40, 50, seed=5)


def test_parameters_are_checked_before_the_body_is_read(client):
    for query in ("top_k=0", "top_k=1.5", "latency_budget_ms=nan", "variant=huge"):
        assert client.post(f"/v1/classify?{query}").json()["code"] == "bad_parameter"


def test_every_image_of_several_has_a_result_or_an_error(client):
    files = [("image", ("a.jpg", PHOTOGRAPH)), ("image", ("b.jpg", b"no image"))]
    answer = client.post("/v1/classify", files=files, params={"top_k": 1}).json()
    good, bad = answer["results"]
    assert len(good["predictions"]) == 1
    assert bad["error"]["code"] == "bad_image"
    assert answer["request_id"] == good["request_id"] == bad["error"]["request_id"]


class Service:
    """The service with one thread for inference, asked by hand, so that a client can leave."""

    def __init__(self, model, monkeypatch, **settings):
        monkeypatch.setenv("BENTOML_HOME", str(model.path.parents[2]))
        settings = Settings(access_log=False, tune_seconds=0, threads=1, **settings)
        web = create_web(settings)
        self.pipeline = web.state.pipeline = Pipeline(settings)
        self.pipeline.start()
        self._app = ServiceMiddleware(web, settings=settings, drain=Drain(), routes=FastPath(lambda: web))

    async def post(self, body, *, leaves=None, seen=None):
        """Status and code; ``leaves`` is an event after which the client is gone, ``seen`` what was received."""
        messages, sent = [{"type": "http.request", "body": body}], []

        async def receive():
            if messages:
                if seen is not None:
                    seen.append(1)
                return messages.pop()
            await (leaves or asyncio.Event()).wait()
            return {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/v1/classify", "query_string": b"", "headers": []}
        await self._app(scope, receive, send)
        return sent[0]["status"] if sent else None


@pytest.fixture(scope="module")
def heavy():
    """An image that takes the thread a second or so to decode."""
    out = io.BytesIO()
    Image.effect_noise((6000, 6000), 60).convert("RGB").save(out, "JPEG", quality=60, progressive=True)
    return out.getvalue()


def decoded():
    labels = {"stage": "decode", "model": "network", "variant": "accurate"}
    return REGISTRY.get_sample_value("catseye_stage_duration_seconds_count", labels) or 0


def test_images_of_clients_that_left_are_not_decoded(model, monkeypatch, heavy):
    service, before = Service(model, monkeypatch), decoded()

    async def requests():
        first = asyncio.create_task(service.post(heavy))
        leaves = asyncio.Event()
        others = [asyncio.create_task(service.post(heavy, leaves=leaves)) for _ in range(5)]
        await asyncio.sleep(0.2)
        leaves.set()
        return await first, await asyncio.gather(*others)

    assert asyncio.run(requests()) == (200, [None] * 5)
    service.pipeline.close()
    assert decoded() == before + 1


def test_where_the_queue_is_full_the_body_is_not_read(model, monkeypatch, heavy):
    service, seen = Service(model, monkeypatch, queue=1), []

    async def requests():
        waiting = [asyncio.create_task(service.post(heavy)) for _ in range(2)]
        await asyncio.sleep(0.05)
        return await service.post(PHOTOGRAPH, seen=seen), await asyncio.gather(*waiting)

    assert asyncio.run(requests()) == (Overloaded.status, [200, 200])
    assert seen == []
    service.pipeline.close()
