"""Classification through HTTP, and every way in which it says no."""

import socket

import pytest

from tests.support.images import bomb, jpeg, png, truncated

PHOTOGRAPH = jpeg(90, 120, seed=5)


def problem_of(reply, status, code):
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    body = reply.json()
    assert (body["status"], body["code"]) == (status, code)
    assert body["request_id"] == reply.headers["x-request-id"]
    assert body["detail"].count(".") >= 1
    return body


def test_a_raw_body_gets_labels_probabilities_and_timings(live):
    reply = live.client.post("/v1/classify", content=PHOTOGRAPH)
    assert reply.status_code == 200, reply.text
    body = reply.json()
    assert body["model"] == "pets"
    assert body["variant"] == "accurate"
    assert sum(p["probability"] for p in body["predictions"]) == pytest.approx(1, abs=1e-4)
    assert {p["label"] for p in body["predictions"]} == set(live.labels)
    probabilities = [p["probability"] for p in body["predictions"]]
    assert probabilities == sorted(probabilities, reverse=True)
    assert {"receive", "decode", "queue", "inference", "total"} <= set(body["timing_ms"])
    assert body["request_id"] == reply.headers["x-request-id"]


@pytest.mark.parametrize("kind", [None, "image/jpeg", "application/octet-stream", "application/x-www-form-urlencoded"])
def test_the_ways_to_send_a_raw_body(live, kind):
    headers = {"content-type": kind} if kind else {}
    assert live.client.post("/v1/classify", content=PHOTOGRAPH, headers=headers).status_code == 200


def test_multipart_gives_the_same_as_a_raw_body(live):
    raw = live.client.post("/v1/classify", content=PHOTOGRAPH).json()
    form = live.client.post("/v1/classify", files={"image": ("bild.jpg", PHOTOGRAPH, "image/jpeg")}).json()
    assert form["predictions"] == raw["predictions"]


def test_several_images_are_answered_each_on_its_own(live):
    files = [("image", PHOTOGRAPH), ("image", b"no image"), ("image", png(40, 40, seed=2))]
    results = live.client.post("/v1/classify", files=files).json()["results"]
    assert results[1]["error"]["code"] == "bad_image"
    alone = live.client.post("/v1/classify", content=PHOTOGRAPH).json()
    assert results[0]["predictions"] == alone["predictions"]
    assert results[2]["predictions"]


def test_top_k_and_the_client_s_own_request_id(live):
    reply = live.client.post("/v1/classify?top_k=2", content=PHOTOGRAPH, headers={"x-request-id": "abc-1"})
    assert len(reply.json()["predictions"]) == 2
    assert reply.headers["x-request-id"] == reply.json()["request_id"] == "abc-1"
    odd = live.client.post("/v1/classify", content=PHOTOGRAPH, headers={"x-request-id": 'a"b c'})
    assert odd.headers["x-request-id"] != 'a"b c'


def test_the_fast_variant_by_name_and_by_budget(live):
    fast = live.client.post("/v1/classify?variant=fast", content=PHOTOGRAPH).json()
    assert fast["variant"] == "fast"
    assert "variant_reason" not in fast
    roomy = live.client.post("/v1/classify?latency_budget_ms=60000", content=PHOTOGRAPH).json()
    assert roomy["variant"] == "accurate"
    assert "fits" in roomy["variant_reason"]
    tight = live.client.post("/v1/classify?latency_budget_ms=0.001", content=PHOTOGRAPH).json()
    assert "no variant fits" in tight["variant_reason"]


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"just some text\n" * 10, 400, "bad_image"),
        (b"", 400, "bad_image"),
        (truncated(png(200, 200)), 400, "bad_image"),
        (bomb(), 413, "too_many_pixels"),
        (b"\xff" * 50_000_000, 413, "too_large"),
    ],
    ids=["text", "empty", "truncated", "900-megapixel", "50-megabyte"],
)
def test_bad_bodies_are_refused_and_the_service_goes_on(live, content, status, code):
    problem_of(live.client.post("/v1/classify", content=content), status, code)
    assert live.client.post("/v1/classify", content=PHOTOGRAPH).status_code == 200


def test_a_large_body_of_unknown_length_is_refused_too(live):
    def chunks():
        for _ in range(500):
            yield b"x" * 100_000

    problem_of(live.client.post("/v1/classify", content=chunks()), 413, "too_large")


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v1/classify?model=nobody", 404, "unknown_model"),
        ("/v1/classify?version=1", 404, "unknown_model"),
        ("/v1/feature-maps?layer=nowhere", 404, "unknown_layer"),
        ("/v1/feature-maps?layer=99", 404, "unknown_layer"),
        ("/v1/classify?top_k=0", 422, "bad_parameter"),
        ("/v1/classify?top_k=many", 422, "bad_parameter"),
        ("/v1/classify?latency_budget_ms=-1", 422, "bad_parameter"),
        ("/v1/classify?variant=slow", 422, "bad_parameter"),
        ("/v1/feature-maps?format=gif", 422, "bad_parameter"),
        ("/v1/feature-maps?channels=1-", 422, "bad_parameter"),
        ("/v1/explain?label=unicorn", 422, "bad_parameter"),
        ("/nowhere", 404, "not_found"),
    ],
)
def test_bad_questions(live, path, status, code):
    problem_of(live.client.post(path, content=PHOTOGRAPH), status, code)


def test_other_content_types_and_methods(live):
    reply = live.client.post("/v1/classify", content=b"{}", headers={"content-type": "application/json"})
    problem_of(reply, 415, "unsupported_media")
    problem_of(live.client.get("/v1/classify"), 405, "method_not_allowed")
    broken = {"content-type": "multipart/form-data; boundary=x"}
    problem_of(live.client.post("/v1/classify", content=b"--y\r\n", headers=broken), 400, "bad_image")
    problem_of(live.client.post("/v1/classify", files={"photo": PHOTOGRAPH}), 422, "bad_parameter")


def test_feature_maps_as_json_npz_and_picture(live):
    import io

    import numpy as np
    from PIL import Image

    described = live.client.get(f"/v1/models/{live.model}").json()["taps"]
    body = live.client.post("/v1/feature-maps?layer=0&layer=-1&channels=0-3", content=PHOTOGRAPH)
    assert body.status_code == 404
    body = live.client.post("/v1/feature-maps?layer=0&channels=0-3&top_k=1", content=PHOTOGRAPH).json()
    layer = body["layers"][0]
    assert layer["name"] == described[0]["name"]
    assert layer["stride"] == described[0]["stride"]
    assert np.array(layer["values"]).shape == (*described[0]["shape"][:2], 4)
    assert len(body["predictions"]) == 1
    packed = live.client.post("/v1/feature-maps?layer=0&format=npz&channels=0-3", content=PHOTOGRAPH)
    arrays = np.load(io.BytesIO(packed.content), allow_pickle=False)
    assert arrays[layer["name"]] == pytest.approx(np.array(layer["values"]), abs=1e-4)
    picture = live.client.post("/v1/feature-maps?layer=0&format=png", content=PHOTOGRAPH)
    assert picture.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(picture.content)).size > (200, 200)


def test_models_say_what_is_served(live):
    body = live.client.get("/v1/models").json()
    model = next(model for model in body["models"] if model["name"] == "pets")
    assert set(model["variants"]) == {"accurate", "fast"}
    accurate = model["variants"]["accurate"]
    assert accurate["card"]["labels"] == list(live.labels)
    assert accurate["latency_ms"]["p95"] > 0
    assert live.client.get("/v1/models/pets").json()["taps"]
    problem_of(live.client.get("/v1/models/nobody"), 404, "unknown_model")


def test_probes_and_metrics(live):
    for probe in ("/livez", "/readyz", "/healthz"):
        reply = live.client.get(probe)
        assert reply.status_code == 200
        assert reply.headers["x-request-id"]
    live.client.post("/v1/classify", content=PHOTOGRAPH)
    text = live.client.get("/metrics").text
    for part in (
        'catseye_request_duration_seconds_bucket{le="+Inf",method="POST",model="pets",route="/v1/classify"',
        'stage="decode"',
        'stage="inference"',
        'stage="queue"',
        "catseye_model_info",
        "catseye_models_ready 1.0",
    ):
        assert part in text


def test_a_scan_of_unknown_paths_adds_no_series(live):
    def series():
        return {line.rsplit(" ", 1)[0] for line in live.client.get("/metrics").text.splitlines()}

    live.client.get("/scan/first")
    series()  # which is a request with series of its own
    before = series()
    for number in range(1000):
        live.client.get(f"/scan/{number}")
    assert series() - before == set()


def test_each_request_leaves_one_json_line_in_the_log(live):
    live.client.post("/v1/classify", content=PHOTOGRAPH, headers={"x-request-id": "look-for-me"})
    (entry,) = live.logged("look-for-me")
    assert (entry["route"], entry["status"], entry["model"]) == ("/v1/classify", 200, "pets")
    assert entry["bytes_in"] == len(PHOTOGRAPH)
    assert entry["timing_ms"].keys() >= {"receive", "decode", "queue", "inference", "total"}
    # Nothing else, so neither the image nor a header of the client's.
    known = {"time", "request_id", "trace_id", "method", "route", "status", "model", "version", "variant"}
    assert entry.keys() == known | {"bytes_in", "bytes_out", "ms", "timing_ms"}


def test_a_client_that_leaves_mid_upload_is_no_error_of_ours(live):
    host, _, port = live.address.partition(":")
    before = live.output().count("Traceback")
    with socket.create_connection((host, int(port))) as link:
        head = f"POST /v1/classify HTTP/1.1\r\nHost: {host}\r\nContent-Type: image/jpeg\r\nContent-Length: 90000\r\n"
        link.sendall(head.encode() + b"x-request-id: left-early\r\n\r\n" + PHOTOGRAPH)
    assert [line["status"] for line in live.logged("left-early")] == [499]
    assert live.output().count("Traceback") == before
    assert 'status="500"' not in live.client.get("/metrics").text
