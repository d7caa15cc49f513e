"""Every code of the error contract, provoked over HTTP; its text says what to do."""

import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.support import servers as server
from tests.support.contract import STATUS
from tests.support.images import TEXT, bomb, heavy, jpeg
from tests.support.load import keep_asking
from tests.support.waiting import wait_for

KEY = "open sesame"
PHOTOGRAPH = jpeg(60, 80, seed=1)
ADVICE = (
    *("Send ", "Give ", "Choose ", "Check that ", "Correct it", "Try again", "Ask for "),
    *("Served are: ", "Loaded are: ", "It has ", "Its labels are: "),
)
"""How the sentence after what was wrong begins: with what to do, or with what there is to choose from."""


@pytest.fixture(scope="module")
def narrow(model_store):
    """One thread, a queue of one, a key, bodies of at most 40 MB."""
    settings = {"API_KEYS": KEY, "THREADS": "1", "QUEUE": "1", "MAX_BODY_MB": "40", "DRAIN_SECONDS": "1"}
    with server.serving(
        model_store,
        key=KEY,
        CATSEYE_DEFAULT_MODEL="pets",
        **{f"CATSEYE_{name}": value for name, value in settings.items()},
    ) as running:
        yield running


def check(reply, code):
    """The problem has that code and its status, and ends with what to do."""
    assert (reply.status_code, reply.json()["code"]) == (STATUS[code], code), reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    body = reply.json()
    assert body["type"].endswith(f":{code}")
    assert body["request_id"] == reply.headers["x-request-id"]
    wrong, _, advice = body["detail"].partition(". ")
    assert wrong
    assert any(words in advice for words in ADVICE), body["detail"]
    assert ("retry-after" in reply.headers) == (STATUS[code] == 503)


SIMPLE = {
    "text": ("bad_image", "/v1/classify", TEXT, {}),
    "nothing": ("bad_image", "/v1/classify", b"", {}),
    "half a photograph": ("bad_image", "/v1/embed", PHOTOGRAPH[: len(PHOTOGRAPH) // 2], {}),
    "a broken form": ("bad_image", "/v1/classify", b"--y\r\n", {"content-type": "multipart/form-data; boundary=x"}),
    "another model": ("unknown_model", "/v1/classify?model=nobody", PHOTOGRAPH, {}),
    "another version": ("unknown_model", "/v1/explain?version=1", PHOTOGRAPH, {}),
    "another layer": ("unknown_layer", "/v1/feature-maps?layer=nowhere", PHOTOGRAPH, {}),
    "a layer too far": ("unknown_layer", "/v1/feature-maps?layer=99", PHOTOGRAPH, {}),
    "many bytes": ("too_large", "/v1/classify", b"\xff" * 41_000_000, {}),
    "many pixels": ("too_many_pixels", "/v1/feature-maps", bomb(), {}),
    "a table": ("unsupported_media", "/v1/classify", b"a,b\n", {"content-type": "text/csv"}),
    "no labels": ("bad_parameter", "/v1/classify?top_k=0", PHOTOGRAPH, {}),
    "no variant": ("bad_parameter", "/v1/classify?variant=slow", PHOTOGRAPH, {}),
    "no label": ("bad_parameter", "/v1/explain?label=unicorn", PHOTOGRAPH, {}),
    "no channels": ("bad_parameter", "/v1/feature-maps?channels=1-", PHOTOGRAPH, {}),
    "a channel too far": ("bad_parameter", "/v1/feature-maps?layer=0&channels=5000", PHOTOGRAPH, {}),
    "too many tiles": ("bad_parameter", "/v1/feature-maps?format=tiles&channels=strongest:500", PHOTOGRAPH, {}),
    "no kernel": ("bad_parameter", "/v1/convolve", b'{"image": [[1]]}', {}),
    "no JSON": ("bad_parameter", "/v1/convolve", b"{", {}),
    "no time": ("bad_parameter", "/v1/classify", PHOTOGRAPH, {"x-timeout-ms": "soon"}),
}


@pytest.mark.parametrize(("code", "path", "content", "headers"), SIMPLE.values(), ids=SIMPLE)
def test_what_is_wrong_with_a_request(narrow, code, path, content, headers):
    check(narrow.client.post(path, content=content, headers=headers), code)


def test_a_missing_key(narrow):
    check(httpx.post(f"http://{narrow.address}/v1/classify", content=PHOTOGRAPH), "unauthorized")


def test_a_time_that_is_too_short(narrow):
    with ThreadPoolExecutor(1) as pool:
        long = pool.submit(narrow.client.post, "/v1/classify", content=heavy(4000))
        time.sleep(0.2)
        check(narrow.client.post("/v1/classify", content=PHOTOGRAPH, headers={"x-timeout-ms": "20"}), "timed_out")
        assert long.result().status_code == 200


def test_a_full_queue(narrow):
    picture = heavy(2500)

    def refused():
        reply = narrow.client.post("/v1/classify", content=PHOTOGRAPH)
        return reply if reply.status_code == 503 else None

    with keep_asking(lambda: narrow.client.post("/v1/classify", content=picture)):
        check(wait_for("a refusal", refused), "overloaded")


def test_a_server_on_its_way_out(narrow):
    """Last, since the server is gone afterwards."""
    narrow.process.terminate()
    reply = narrow.client.post("/v1/classify", content=PHOTOGRAPH)
    while reply.status_code == 200:
        reply = narrow.client.post("/v1/classify", content=PHOTOGRAPH)
    check(reply, "draining")


def test_no_code_of_the_contract_is_left_out():
    others = {"unauthorized", "timed_out", "overloaded", "draining"}  # each has a test of its own above
    assert {code for code, *_ in SIMPLE.values()} | others == set(STATUS)
