import asyncio

import orjson
import pytest

from service.asgi.drain import Drain
from service.asgi.middleware import ServiceMiddleware
from service.settings import Settings


class Call:
    """One request through the middleware, by hand, so that the body can arrive in any pieces."""

    def __init__(self, settings=None, drain=None, **more):
        self.drain = drain or Drain()
        self.middleware = ServiceMiddleware(
            self.app, settings=settings or Settings(access_log=False), drain=self.drain, **more
        )
        self.reached = False

    async def app(self, scope, receive, send):
        self.reached = True
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    def __call__(self, path="/v1/classify", chunks=(b"",), headers=None):
        pieces = [{"type": "http.request", "body": c, "more_body": n + 1 < len(chunks)} for n, c in enumerate(chunks)]
        pieces = iter(pieces)
        sent = []

        async def receive():
            return next(pieces, {"type": "http.disconnect"})

        async def send(message):
            sent.append(message)

        raw = [(key.lower().encode(), value.encode()) for key, value in (headers or {}).items()]
        scope = {"type": "http", "method": "POST", "path": path, "headers": raw}
        asyncio.run(self.middleware(scope, receive, send))
        body = b"".join(message.get("body", b"") for message in sent[1:])
        return sent[0]["status"], dict(sent[0]["headers"]), body, next(pieces, None)


def test_requests_pass_with_an_id():
    call = Call()
    status, headers, body, _ = call(chunks=(b"ab", b"cd"), headers={"x-request-id": "mine-1"})
    assert (status, body) == (200, b"abcd")
    assert headers[b"x-request-id"] == b"mine-1"
    ids = {call()[1][b"x-request-id"] for _ in range(10)}
    assert len(ids) == 10


@pytest.mark.parametrize("bad", ["", "a b", "x" * 129, "a\nb", "ä"])
def test_an_odd_id_is_replaced(bad):
    raw = Call()(headers={"x-request-id": bad})[1][b"x-request-id"]
    assert raw.decode() != bad
    assert raw.isalnum()


def test_a_promised_large_body_is_refused_before_it_is_read_and_then_drained():
    call = Call(Settings(max_body_mb=0.001, access_log=False))
    status, headers, body, left = call(chunks=(b"x" * 600, b"x" * 600), headers={"content-length": "1200"})
    assert status == 413
    assert orjson.loads(body)["code"] == "too_large"
    assert headers[b"connection"] == b"close"
    assert not call.reached
    assert left is None


def test_keys_are_asked_for_where_there_are_some():
    call = Call(Settings(api_keys="right,other", access_log=False))
    assert call()[0] == 401
    assert call(headers={"x-api-key": "wrong"})[0] == 401
    assert not call.reached
    assert call(headers={"x-api-key": "right"})[0] == 200
    assert call(headers={"authorization": "Bearer other"})[0] == 200
    for path in ("/livez", "/readyz", "/metrics", "/", "/page/app.js"):
        assert call(path)[0] == 200


def test_a_closed_server_says_so_but_its_probes_answer():
    call = Call()
    call.drain.begin(0)
    status, headers, body, _ = call()
    assert status == 503
    assert orjson.loads(body)["code"] == "draining"
    assert headers[b"retry-after"] == b"1"
    assert headers[b"connection"] == b"close"  # or the client would lose its next request
    assert call("/livez")[0] == 200


def test_a_body_that_is_still_sent_gives_way_to_a_smaller_one():
    """Of two that do not fit together, the larger gets a 503 while it is sent, and the smaller its answer."""

    async def both():
        call = Call(Settings(max_body_mb=0.001, max_bodies_mb=0.001, access_log=False))
        replies = {}
        more = asyncio.Event()

        async def ask(name, *chunks):
            pieces = list(chunks)

            async def receive():
                if len(pieces) == 1 and name == "large":
                    more.set()
                    await asyncio.sleep(60)
                body = pieces.pop(0) if pieces else b""
                return {"type": "http.request", "body": body, "more_body": bool(pieces)}

            async def send(message):
                if message["type"] == "http.response.start":
                    replies[name] = (message["status"], dict(message["headers"]))

            scope = {"type": "http", "method": "POST", "path": "/v1/classify", "headers": []}
            await call.middleware(scope, receive, send)

        large = asyncio.create_task(ask("large", b"x" * 700, b"x" * 100))
        await more.wait()
        await ask("small", b"x" * 200, b"x" * 200)
        await large
        return replies

    replies = asyncio.run(asyncio.wait_for(both(), 60))
    assert replies["small"][0] == 200
    status, headers = replies["large"]
    assert status == 503
    assert int(headers[b"retry-after"]) >= 1
    assert headers[b"connection"] == b"close"


def test_what_was_held_is_given_back_however_a_request_ends():
    call = Call(Settings(max_body_mb=0.001, max_bodies_mb=0.001, access_log=False))
    for _ in range(3):
        assert call(chunks=(b"x" * 900,))[0] == 200
        assert call(chunks=(b"x" * 900,), path="/livez")[0] == 200
        assert call(chunks=(b"x" * 900, b"x" * 900))[0] == 413


def slow_client(middleware, pieces, headers=()):
    """The reply to a client that sends so many pieces of its body and then nothing."""

    async def ask():
        sent, asked = [], []

        async def receive():
            asked.append(1)
            await asyncio.sleep(0 if len(asked) <= pieces else 60)
            return {"type": "http.request", "body": b"x", "more_body": True}

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/v1/classify", "headers": list(headers)}
        await middleware(scope, receive, send)
        return sent

    sent = asyncio.run(ask())
    return sent[0]["status"], dict(sent[0]["headers"]), orjson.loads(sent[1]["body"])


@pytest.mark.parametrize("pieces", [0, 1])
def test_a_body_that_does_not_arrive_in_time_is_the_clients_error(pieces):
    status, headers, body = slow_client(Call(Settings(timeout=0.05, access_log=False)).middleware, pieces)
    assert (status, body["code"]) == (408, "slow_body")
    assert (headers.get(b"connection") == b"close") == (pieces > 0)


def test_an_answer_that_is_not_ready_in_time_is_the_servers_error():
    async def busy(scope, receive, send):
        await asyncio.sleep(60)

    call = Call()
    call.middleware = ServiceMiddleware(busy, settings=Settings(timeout=0.05, access_log=False), drain=Drain())
    status, _, body, _ = call()
    assert (status, orjson.loads(body)["code"]) == (504, "timed_out")


def test_a_deadline_is_not_the_next_requests():
    """uvicorn runs pipelined requests in the context of the first, so a context variable would reach the next one."""
    deadlines = []

    async def app(scope, receive, send):
        deadlines.append(scope["state"]["deadline"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def pipelined():
        middleware = ServiceMiddleware(app, settings=Settings(access_log=False), drain=Drain())
        for headers in ([(b"x-timeout-ms", b"1000")], []):
            scope = {"type": "http", "method": "GET", "path": "/", "headers": headers}
            await middleware(scope, None, lambda message: asyncio.sleep(0))

    asyncio.run(pipelined())
    assert deadlines[1] > deadlines[0] + 20


def test_the_application_is_stopped_when_the_client_leaves(caplog):
    stopped = []

    async def app(scope, receive, send):
        await receive()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            stopped.append(1)
            raise

    async def leave():
        middleware = ServiceMiddleware(app, settings=Settings(), drain=Drain())
        messages = [{"type": "http.request", "body": b"x"}, {"type": "http.disconnect"}]
        sent = []

        async def receive():
            return messages.pop(0)

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/v1/classify", "headers": []}
        await asyncio.wait_for(middleware(scope, receive, send), 30)
        return sent

    with caplog.at_level("INFO", "catseye.access"):
        assert asyncio.run(leave()) == []
    assert stopped == [1]
    assert orjson.loads(caplog.records[-1].message)["status"] == 499


def test_head_is_get_without_the_body():
    async def app(scope, receive, send):
        assert scope["method"] == "GET"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    sent = []

    async def send(message):
        sent.append(message)

    middleware = ServiceMiddleware(app, settings=Settings(access_log=False), drain=Drain())
    asyncio.run(middleware({"type": "http", "method": "HEAD", "path": "/livez", "headers": []}, None, send))
    assert (sent[0]["status"], sent[1]["body"]) == (200, b"")
    assert (b"content-length", b"2") in sent[0]["headers"]
