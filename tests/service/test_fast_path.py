"""``/v1/classify`` by the fast path and through FastAPI: the same answer, whatever is asked."""

import asyncio
from types import SimpleNamespace

import httpx
import pytest

import service.inference.registry as registry
from service.application import create_web
from service.asgi.drain import Drain
from service.asgi.middleware import ServiceMiddleware
from service.fast_path import FastPath
from service.inference.pipeline import Pipeline
from service.metrics import REFUSED
from service.settings import Settings
from tests.support.images import jpeg
from tests.support.networks import stored

PHOTOGRAPH = jpeg(40, 50, seed=5)
SETTINGS = Settings(access_log=False, tune_seconds=0, max_body_mb=0.1)


def post(path, *, web, way, **more):
    middleware = ServiceMiddleware(web, settings=SETTINGS, drain=Drain(), routes=way)

    async def asked():
        transport = httpx.ASGITransport(middleware, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await client.post(path, headers={"x-request-id": "me", **more.pop("headers", {})}, **more)

    return asyncio.run(asked())


@pytest.fixture(scope="module")
def web():
    made = create_web(SETTINGS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "list_models", lambda name=None: [stored("cnn")])
        made.state.pipeline = Pipeline(SETTINGS)
        made.state.pipeline.start()
    yield made
    made.state.pipeline.close()


@pytest.mark.parametrize(
    ("query", "more", "status"),
    [
        ("", {"content": PHOTOGRAPH}, 200),
        ("?top_k=1", {"content": PHOTOGRAPH, "headers": {"content-type": "image/jpeg"}}, 200),
        ("", {"files": {"image": ("a.jpg", PHOTOGRAPH)}}, 200),
        ("", {"files": [("image", ("a.jpg", PHOTOGRAPH)), ("image", ("b.jpg", b"no image"))]}, 200),
        ("?top_k=none", {"content": PHOTOGRAPH}, 422),
        ("?model=nobody", {"content": PHOTOGRAPH}, 404),
        ("", {"content": b""}, 400),
        ("", {"content": b"no image"}, 400),
        ("", {"content": PHOTOGRAPH[:-200]}, 400),
        ("", {"content": PHOTOGRAPH, "headers": {"content-type": "text/plain"}}, 415),
        ("", {"content": PHOTOGRAPH, "headers": {"x-timeout-ms": "soon"}}, 422),
        ("", {"content": bytes(200_000)}, 413),
    ],
)
def test_both_ways_answer_alike(web, query, more, status):
    found = [post(f"/v1/classify{query}", web=web, way=way, **more) for way in (FastPath(lambda: web), web)]
    assert [reply.status_code for reply in found] == [status, status], found[0].text
    first, second = ({**reply.json(), "timing_ms": None} for reply in found)
    if "results" in first:
        for each in (*first["results"], *second["results"]):
            each.pop("timing_ms", None)
    assert first == second
    names = [sorted(reply.headers) for reply in found]
    assert names[0] == names[1]
    assert found[0].headers["content-type"] == found[1].headers["content-type"]
    if status == 200:
        assert found[0].headers["x-content-type-options"] == "nosniff"


def test_a_bug_is_answered_and_counted_and_says_nothing(web, caplog):
    broken = SimpleNamespace(state=SimpleNamespace())  # no pipeline
    before = REFUSED.labels("internal")._value.get()
    reply = post("/v1/classify", web=web, way=FastPath(lambda: broken), content=PHOTOGRAPH)
    assert (reply.status_code, reply.json()["code"], reply.json()["request_id"]) == (500, "internal", "me")
    assert "pipeline" not in reply.text
    assert REFUSED.labels("internal")._value.get() == before + 1
    assert "unexpected error" in caplog.text


@pytest.mark.parametrize("path", ["/v1/explain", "/v1/classify/", "/nowhere"])
def test_everything_else_is_the_applications(web, path):
    found = [post(path, web=web, way=way, content=PHOTOGRAPH) for way in (FastPath(lambda: web), web)]
    assert found[0].status_code == found[1].status_code
    assert found[0].headers.get("allow") == found[1].headers.get("allow")


def test_another_method_is_the_applications(web):
    async def asked():
        transport = httpx.ASGITransport(
            ServiceMiddleware(web, settings=SETTINGS, drain=Drain(), routes=FastPath(lambda: web))
        )
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await client.get("/v1/classify")

    assert asyncio.run(asked()).status_code == 405
