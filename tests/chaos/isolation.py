"""Reply i belongs to request i; an image that cannot be run fails alone."""

import asyncio
import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson

from models.arrays import Pixels
from models.errors import BadParameter
from models.runtime.base import Kind
from models.runtime.open import open_runtime
from models.store.store import StoredModel
from service.inference.batcher import Batcher, Outputs
from tests.chaos.processes import whole
from tests.chaos.row import Row
from tests.chaos.traffic import read_reply, request
from tests.support.images import jpeg
from tests.support.networks import make_model
from tests.support.servers import Live
from tests.support.waiting import seconds_until


def sums(images: Pixels, outputs: Sequence[str]) -> Outputs:
    """The number that each image spells in its first pixel."""
    first = images[:, 0, 0, :].astype(np.float32)  # exact up to 2^24
    return {"logits": first[:, 0] * 65_536 + first[:, 1] * 256 + first[:, 2]}


def in_process(items: int, threads: int = 16) -> Row:
    """Numbers go through the batcher from many threads, and each must come back to who brought it."""
    batcher = Batcher(sums, max_batch=8, wait=0.0005, runs=2)
    wrong, done = [0] * threads, [0] * threads

    def bring(thread: int) -> None:
        for number in range(thread, items, threads):
            pixels = np.array([[[number >> 16 & 255, number >> 8 & 255, number & 255]]], np.uint8)
            answer, _, _ = batcher.run(pixels, ("logits",))
            wrong[thread] += int(answer["logits"]) != number % 2**24
            done[thread] += 1

    crew = [threading.Thread(target=bring, args=(number,)) for number in range(threads)]
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join()
    return Row(
        "isolation: items through the batcher", sum(done), sum(wrong), None, not sum(wrong) and sum(done) == items
    )


def over_http(live: Live, requests: int, clients: int = 32, pictures: int = 64) -> Row:
    """Pictures with answers of their own, asked for by many at once: each gets its own, under its own request id."""
    port = live.port
    _one_version(live)
    bodies = [jpeg(48, 48, seed=seed) for seed in range(pictures)]
    expected = [_answer(live.client.post("/v1/classify", content=body).json()) for body in bodies]

    async def run() -> tuple[int, int]:
        wrong = asked = 0

        async def client(first: int) -> None:
            nonlocal wrong, asked
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for number in range(first, requests, clients):
                which = number * 7919 % pictures
                writer.write(request(port, bodies[which], headers=f"x-request-id: r{number}\r\n"))
                reply = await read_reply(reader)
                right = reply.status == 200 and reply.headers["x-request-id"] == f"r{number}"
                wrong += not (right and _nearest(_answer(orjson.loads(reply.body)), expected) == which)
                asked += 1
            writer.close()

        await asyncio.gather(*(client(first) for first in range(clients)))
        return asked, wrong

    asked, wrong = asyncio.run(run())
    return Row("isolation: HTTP requests", asked, wrong, None, not wrong and asked == requests)


def _one_version(live: Live) -> None:
    """Store a new version, and wait until every worker answers with it."""
    new = make_model(live.model, backbone="cnn", size=32, seed=21).version

    def everywhere() -> bool:
        asked = {live.client.get(f"/v1/models/{live.model}", headers={"connection": "close"}).text for _ in range(8)}
        return whole(live, 2) and all(f'"version":"{new}"' in text for text in asked)

    seconds_until(everywhere)
    time.sleep(2)  # a worker that has just looked at the store looks again by then


def poison(model: StoredModel, kind: Kind, items: int) -> Row:
    """Of many images in batches, every tenth cannot be run: it fails, and no other."""
    runtime = open_runtime(model, kind)
    batcher = Batcher(runtime.run, max_batch=8, wait=0.005)
    height, width = model.card.input_size
    random = np.random.default_rng(0)
    whole = [random.integers(0, 256, (height, width, 3), np.uint8) for _ in range(16)]
    alone = [runtime.run(image[None], ("logits",))["logits"][0] for image in whole]
    wrong = [0] * 8

    def bring(thread: int) -> None:
        for number in range(thread, items, 8):
            bad = number % 10 == 3
            image = whole[number % 16]
            try:
                answer, _, _ = batcher.run(image[:-1] if bad else image, ("logits",))
                wrong[thread] += bad or not np.allclose(answer["logits"], alone[number % 16], atol=2e-3, rtol=1e-3)
            except (BadParameter, ValueError):
                wrong[thread] += not bad

    crew = [threading.Thread(target=bring, args=(number,)) for number in range(8)]
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join()
    runtime.close()
    return Row(f"isolation: a poison image in {kind}", items, sum(wrong), None, not sum(wrong))


def _answer(reply: dict[str, Any]) -> dict[str, float]:
    return {item["label"]: item["probability"] for item in reply["predictions"]}


def _nearest(answer: dict[str, float], expected: list[dict[str, float]]) -> int:
    return min(range(len(expected)), key=lambda n: sum(abs(answer[k] - expected[n][k]) for k in answer))
