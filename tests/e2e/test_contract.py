"""The service held to its own OpenAPI document by schemathesis, and every reply to its request."""

import asyncio
import base64
import itertools
import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import httpx
import pytest

from service.routes.openapi import EXAMPLES
from tests.support import servers as server
from tests.support.images import jpeg, png

CONFIG = Path(__file__).with_name("schemathesis.toml")
REQUESTS = 10_000
TOGETHER = 64


@pytest.mark.long
def test_schemathesis_finds_nothing(live, tmp_path):
    """All checks on; ``schemathesis.toml`` says where valid input may be refused. Every route was also answered 200."""
    before = accepted(live)
    arguments = ["--max-examples", "40", "--seed", "1", "--request-timeout", "60", "--no-color"]
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run", *arguments]
    ended = subprocess.run(
        [*command, f"http://{live.address}/openapi.json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(server.ROOT)},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    generated = re.search(r"(\d+) generated, \1 passed", ended.stdout)
    assert generated, ended.stdout
    assert int(generated[1]) > 1000
    after = accepted(live)
    paths = httpx.get(f"http://{live.address}/openapi.json").json()["paths"]
    assert {path for path in paths if after[path] > before[path]} == set(paths)


def accepted(live):
    """How many requests were answered 200, by route."""
    counts: Counter[str] = Counter()
    for line in live.client.get("/metrics").text.splitlines():
        if line.startswith("catseye_request_duration_seconds_count{") and 'status="200"' in line:
            counts[re.search(r'route="([^"]*)"', line)[1]] += int(float(line.rsplit(" ", 1)[1]))
    return counts


@pytest.mark.parametrize("path", ["/v1/models/a%0Ab", "/schema.json", "/docs.json", "/static_content/x", "//", "/%ff"])
def test_every_unknown_path_is_a_problem_of_ours(live, path):
    reply = httpx.get(f"http://{live.address}{path}")
    assert reply.status_code == 404
    assert reply.json()["code"] in ("not_found", "unknown_model")


# Networks with random weights have no history of training to show.
@pytest.mark.parametrize("route", [route for route in EXAMPLES["answers"] if not route.endswith("history")])
def test_the_document_s_examples_have_the_form_of_real_answers(live, route):
    method, path = route.split()
    sent = {"files": {"image": png(40, 40)}} if method == "post" else {}
    if path.endswith("/infer"):
        sent = {"json": EXAMPLES["requests"][route]}
    address = f"http://{live.address}{path.format(model=live.model, name=live.model)}"
    reply = httpx.request(method, address, params={"layer": "6", "format": "json"} if "v1" in path else {}, **sent)
    assert reply.status_code == 200, reply.text
    assert names(EXAMPLES["answers"][route]) <= names(reply.json())


def names(value, inside=""):
    """Where in a JSON value a member stands, whatever it holds."""
    if isinstance(value, dict):
        return {f"{inside}.{key}" for key in value} | {n for k, v in value.items() for n in names(v, f"{inside}.{k}")}
    return {n for item in value for n in names(item, f"{inside}[]")} if isinstance(value, list) else set()


@pytest.mark.long
def test_ten_thousand_mixed_requests_each_get_their_own_answer(live):
    """Pictures, variants, routes and ways of sending mixed; each reply is that of its request, with its id."""
    pictures = [jpeg(48, 48, seed=seed) for seed in range(12)] + [png(40, 56, seed=seed) for seed in range(12)]
    kinds = [Kind(live, picture, variant) for picture in pictures for variant in ("accurate", "fast")]
    for one, other in itertools.combinations(kinds, 2):
        assert not close(one.predictions, other.predictions)  # or a reply to the wrong request could not be told
    seen: Counter[tuple[str, int]] = Counter()

    async def everybody():
        numbers = iter(range(REQUESTS))

        async def some():
            line = await Line.open(live.address)
            for number in numbers:
                seen[await ask(line, kinds, number)] += 1
            line.close()

        await asyncio.gather(*(some() for _ in range(TOGETHER)))

    asyncio.run(everybody())
    ways = Counter(way_of(number) for number in range(REQUESTS))
    assert seen == {(way, 400 if way == "broken" else 200): count for way, count in ways.items()}


def way_of(number):
    """How the request of that number is sent."""
    every = {"broken": 101, "several": 7, "embed": 11, "infer": 13, "explain": 17}
    return next((way for way, step in every.items() if number % step == 0), "raw")


class Kind:
    """A picture and a variant, and what the service says of it when nothing else is asked."""

    def __init__(self, live, picture, variant):
        self.picture, self.query = picture, f"?variant={variant}"
        self.variant = variant
        self.predictions = live.client.post(f"/v1/classify{self.query}", content=picture).json()["predictions"]
        self.embedding = live.client.post(f"/v1/embed{self.query}", content=picture).json()["embedding"]
        self.version = live.client.get(f"/v1/models/{live.model}").json()["variants"][variant]["version"]
        self.inference = f"/v2/models/{live.model}/versions/{self.version}/infer"


async def ask(line, kinds, number):
    """Send one request and hold its reply to what belongs to it; gives the way and the status."""
    kind, way = kinds[number % len(kinds)], way_of(number)
    name = f"number-{number}"
    headers = {"x-request-id": name}
    if way == "broken":
        status, told, body = await line.post(f"/v1/classify{kind.query}", b"no image", headers)
        assert body["code"] == "bad_image"
    elif way == "several":
        other = kinds[(number + 2) % len(kinds)]
        content, form = form_of(kind.picture, other.picture)
        status, told, body = await line.post(f"/v1/classify{kind.query}", content, headers | form)
        first, second = body["results"]
        assert close(first["predictions"], kind.predictions)
        assert close(second["predictions"], other.predictions)
    elif way == "embed":
        status, told, body = await line.post(f"/v1/embed{kind.query}", kind.picture, headers)
        assert body["embedding"] == pytest.approx(kind.embedding, rel=1e-2, abs=1e-3 * max(map(abs, kind.embedding)))
    elif way == "infer":
        status, told, body = await line.post(kind.inference, inference_of(kind.picture, name), headers)
        assert body["outputs"][0]["data"] == [kind.predictions[0]["label"]]
        body["request_id"] = body["id"]
    elif way == "explain":
        status, told, body = await line.post(f"/v1/explain{kind.query}&format=json", kind.picture, headers)
        best = {"label": body["label"], "probability": body["probability"]}
        assert close([best], kind.predictions[:1])
    else:
        status, told, body = await line.post(f"/v1/classify{kind.query}", kind.picture, headers)
        assert close(body["predictions"], kind.predictions)
        assert body["variant"] == kind.variant
    assert told == body["request_id"] == name
    return way, status


def inference_of(picture, name):
    """A request of the inference protocol for the picture's label."""
    data = [base64.b64encode(picture).decode()]
    inputs = [{"name": "image", "datatype": "BYTES", "shape": [1], "data": data}]
    return json.dumps({"id": name, "inputs": inputs, "outputs": [{"name": "labels"}]}).encode()


class Line:
    """One kept connection: a whole client would spend more on ten thousand requests than the service does."""

    def __init__(self, reader, writer):
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, address):
        host, _, port = address.partition(":")
        return cls(*await asyncio.open_connection(host, int(port)))

    async def post(self, path, content, headers):
        """Status, request id and parsed body of the reply."""
        fields = {"host": "x", "content-length": str(len(content)), **headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self._writer.write(f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + content)
        start, *lines = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        got = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await self._reader.readexactly(int(got["content-length"]))
        return int(start.split()[1]), got["x-request-id"], json.loads(body)

    def close(self):
        self._writer.close()


def form_of(*pictures):
    """A multipart body and its header."""
    request = httpx.Request("POST", "http://x", files=[("image", picture) for picture in pictures])
    return request.read(), {"content-type": request.headers["content-type"]}


def close(one, other):
    """The same labels in the same order with the same probabilities, but for the last digits."""
    return [a["label"] for a in one] == [b["label"] for b in other] and all(
        abs(a["probability"] - b["probability"]) < 1e-4 for a, b in zip(one, other, strict=True)
    )
