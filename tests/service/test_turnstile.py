import asyncio
from types import SimpleNamespace

import pytest

from models.errors import BadParameter, Overloaded, UnknownModel
from service.settings import Settings
from service.turnstile import PATH
from service.web import create_web


class Crowded:
    """A gateway whose queue is full, or one that does not know the model."""

    def __init__(self, full=True):
        self.full, self.asked = full, []

    def refusal(self, model, version, variant, budget_ms, request_id):
        self.asked.append((model, version, variant, budget_ms, request_id))
        if model == "nobody":
            raise UnknownModel("Model nobody is not here.")
        return (SimpleNamespace(metric_labels=("a", "1", "fast")), Overloaded("Full.", 2.3)) if self.full else None


def ask(gateway, *, query="", method="POST", path=PATH):
    """The reply's start, its body, how much of the request's body was read, and the scope."""
    app = create_web(Settings())
    app.state.gateway = gateway
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(b"content-type", b"image/jpeg")],
        "root_path": "",
        "scheme": "http",
        "server": ("127.0.0.1", 1),
        "client": ("127.0.0.1", 2),
        "catseye": {"request_id": "me"},
    }
    read, sent = [], []

    async def receive():
        read.append(1)
        return {"type": "http.request", "body": b"no image", "more_body": False}

    async def send(message):
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    return sent[0], b"".join(message.get("body", b"") for message in sent[1:]), len(read), scope


def test_a_full_queue_refuses_before_the_body_is_read():
    gateway = Crowded()
    start, body, read, scope = ask(gateway, query="model=a&variant=fast&latency_budget_ms=9")
    headers = dict(start["headers"])
    assert (start["status"], headers[b"retry-after"], read) == (503, b"3", 0)
    assert headers[b"content-type"] == b"application/problem+json"
    assert b"content-security-policy" in headers
    assert b'"code":"overloaded"' in body
    assert gateway.asked == [("a", None, "fast", 9.0, "me")]
    assert (scope["catseye"]["model"], scope["route"].path) == (("a", "1", "fast"), PATH)


@pytest.mark.parametrize(
    ("query", "full", "reads"),
    [("model=nobody", True, True), ("top_k=none", True, False), ("", False, True)],
    ids=["unknown", "mistake", "room"],
)
def test_everything_else_reaches_the_route(query, full, reads):
    gateway = Crowded(full)
    gateway.begin = lambda: None
    gateway.images = images
    start, body, read, _ = ask(gateway, query=query)
    assert start["status"] == 422
    assert read == reads
    assert (b"It was read." in body) == reads


async def images(request):
    await request.body()
    raise BadParameter("It was read.")


@pytest.mark.parametrize(("method", "path"), [("GET", PATH), ("POST", "/v1/other"), ("OPTIONS", PATH)])
def test_only_the_hot_route_has_a_turnstile(method, path):
    gateway = Crowded()
    assert ask(gateway, method=method, path=path)[0]["status"] in (404, 405)
    assert gateway.asked == []
