"""A server with everything set tight: keys, one thread, a queue of one, few images, other pages let in."""

import base64
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.support import servers as server
from tests.support.images import heavy, jpeg
from tests.support.load import keep_asking
from tests.support.waiting import wait_for

KEY, OTHER = "correct horse", "battery staple"
PHOTOGRAPH = jpeg(80, 80, seed=1)


@pytest.fixture(scope="module")
def heavy_picture():
    return heavy()


@pytest.fixture(scope="module")
def tight(model_store):
    with server.serving(
        model_store,
        CATSEYE_DEFAULT_MODEL="pets",
        CATSEYE_API_KEYS=f"{KEY}, {OTHER}",
        CATSEYE_CORS_ORIGINS="https://example.org",
        CATSEYE_THREADS="1",
        CATSEYE_QUEUE="1",
        CATSEYE_MAX_IMAGES="3",
        CATSEYE_MAX_BODY_MB="50",
        CATSEYE_DRAIN_SECONDS="1",
        CATSEYE_CACHE_MB="8",
        CATSEYE_RELOAD_SECONDS="0",
        key=KEY,
    ) as running:
        yield running


def classify(tight, content=PHOTOGRAPH, query="", **headers):
    return tight.client.post(f"/v1/classify{query}", content=content, headers=headers)


def problem(reply, status, code):
    assert (reply.status_code, reply.json().get("code")) == (status, code), reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.headers["x-request-id"] == reply.json()["request_id"]
    return reply.json()


@pytest.fixture
def occupied(tight, heavy_picture):
    """The only thread is busy, and the queue of one is taken, nearly all the time."""

    def ask():  # every picture differs, or the cache would answer
        classify(tight, heavy_picture + str(time.monotonic_ns()).encode())

    with keep_asking(ask, clients=6):
        yield


def test_without_a_key_nothing_but_probes_and_the_page(tight):
    anonymous = httpx.Client(base_url=tight.client.base_url, timeout=60)
    for path in ("/livez", "/readyz", "/metrics", "/", "/docs", "/openapi.json"):
        assert anonymous.get(path).status_code == 200, path
    reply = anonymous.post("/v1/classify", content=PHOTOGRAPH)
    problem(reply, 401, "unauthorized")
    assert reply.headers["www-authenticate"].startswith("Bearer")
    for headers in ({"x-api-key": KEY[:-1]}, {"x-api-key": ""}, {"authorization": f"Basic {KEY}"}):
        problem(anonymous.post("/v1/classify", content=PHOTOGRAPH, headers=headers), 401, "unauthorized")
    problem(anonymous.get("/nowhere"), 401, "unauthorized")


def test_each_key_opens_in_either_header(tight):
    bare = httpx.Client(base_url=tight.client.base_url, timeout=60)
    for headers in ({"x-api-key": OTHER}, {"authorization": f"Bearer {KEY}"}):
        assert bare.post("/v1/classify", content=PHOTOGRAPH, headers=headers).status_code == 200
    assert KEY not in tight.output()
    assert OTHER not in tight.output()
    metrics = tight.client.get("/metrics").text
    assert KEY not in metrics
    assert OTHER not in metrics


def test_pages_of_one_origin_are_let_in_without_a_key_for_the_question(tight):
    asked = {
        "origin": "https://example.org",
        "access-control-request-method": "POST",
        "access-control-request-headers": "x-api-key,content-type",
    }
    bare = httpx.Client(base_url=tight.client.base_url, timeout=60)
    reply = bare.options("/v1/classify", headers=asked)
    assert reply.status_code == 200
    assert reply.headers["access-control-allow-origin"] == "https://example.org"
    assert classify(tight, origin="https://example.org").headers["access-control-allow-origin"] == "https://example.org"
    assert "access-control-allow-origin" not in classify(tight, origin="https://example.com").headers


def test_too_many_images_in_one_form(tight):
    files = [("image", PHOTOGRAPH)] * 4
    assert "at most 3" in problem(tight.client.post("/v1/classify", files=files), 422, "bad_parameter")["detail"]


def test_a_limit_that_was_raised_holds_for_pictures_and_the_lab_too(tight):
    large = PHOTOGRAPH + bytes(21_000_000)  # over the 20 MB that are read unless set otherwise
    for path in ("/v1/classify", "/v1/explain?format=png", "/v1/feature-maps?format=png"):
        assert tight.client.post(path, content=large).status_code == 200, path
    request = {"image": base64.b64encode(large).decode(), "kernel": [[1]]}
    assert tight.client.post("/v1/convolve", json=request).status_code == 200


def test_a_full_queue_is_refused_with_a_time_to_come_back(tight, occupied):
    def refusal():
        reply = classify(tight, jpeg(40, 40, seed=int(time.monotonic() * 1000) % 10_000))
        return reply if reply.status_code == 503 else None

    refused = wait_for("a refusal", refusal)
    problem(refused, 503, "overloaded")
    assert int(refused.headers["retry-after"]) >= 1
    assert 'catseye_refused_total{code="overloaded"}' in tight.client.get("/metrics").text


def test_a_client_s_own_time_limit_and_what_has_expired_is_not_run(tight, heavy_picture):
    with ThreadPoolExecutor(1) as pool:
        long = pool.submit(classify, tight, heavy_picture + b"\0")
        time.sleep(0.2)
        replies = [classify(tight, jpeg(40, 40, seed=seed), **{"x-timeout-ms": "30"}) for seed in range(3)]
        late = [reply for reply in replies if reply.status_code == 504]
        assert late, [reply.text for reply in replies]
        assert "time limit" in problem(late[0], 504, "timed_out")["detail"]
        assert long.result(60).status_code == 200
    problem(classify(tight, **{"x-timeout-ms": "soon"}), 422, "bad_parameter")
    assert classify(tight).status_code == 200


def test_the_same_photograph_again_costs_no_inference(tight):
    def inferences():
        text = tight.client.get("/metrics").text
        name = 'catseye_stage_duration_seconds_count{model="pets",stage="inference",variant="accurate"}'
        return next(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name))

    picture = jpeg(50, 50, seed=77)
    first = classify(tight, picture).json()
    before = inferences()
    second = classify(tight, picture).json()
    assert second["predictions"] == first["predictions"]
    assert second["request_id"] != first["request_id"]
    assert inferences() == before
    assert classify(tight, picture, "?variant=fast").json()["predictions"] != first["predictions"]


def test_on_sigterm_unready_first_then_refusing_and_running_requests_end(tight):
    """Last, since the server is gone afterwards."""
    tight.process.terminate()
    seen: list[tuple[int, int]] = []
    deadline = time.monotonic() + 30
    while tight.process.poll() is None and time.monotonic() < deadline:
        try:
            ready = tight.client.get("/readyz", timeout=2).status_code
            reply = classify(tight, jpeg(40, 40, seed=len(seen)))
        except httpx.HTTPError:
            break
        seen.append((ready, reply.status_code))
        if reply.status_code == 503:
            problem(reply, 503, "draining")
            assert "retry-after" in reply.headers
        time.sleep(0.02)
    assert tight.process.wait(30) == 0
    assert (503, 200) in seen
    assert seen[-1] == (503, 503)
    assert [ready for ready, _ in seen] == sorted(ready for ready, _ in seen)
