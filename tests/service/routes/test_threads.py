"""No route waits for the threads that Starlette shares among everything that blocks."""

import anyio.to_thread
import pytest

from tests.support.images import jpeg

PHOTOGRAPH = jpeg(40, 50, seed=5)


@pytest.fixture
def busy_threads(client):
    """All of anyio's default threads are taken."""
    limiter = client.portal.call(_default_limiter)
    borrowers = [object() for _ in range(int(limiter.total_tokens))]
    for borrower in borrowers:
        client.portal.call(limiter.acquire_on_behalf_of_nowait, borrower)
    yield
    for borrower in borrowers:
        client.portal.call(limiter.release_on_behalf_of, borrower)


async def _default_limiter():
    return anyio.to_thread.current_default_thread_limiter()


@pytest.mark.usefixtures("busy_threads")
@pytest.mark.parametrize(
    "path",
    [
        "/v1/classify",
        "/v1/embed",
        "/v1/explain",
        "/v1/explain?format=json",
        "/v1/feature-maps",
        "/v1/feature-maps?format=png",
        "/v1/feature-maps?format=tiles",
    ],
)
def test_images_are_answered_while_the_shared_threads_are_busy(client, path):
    reply = client.post(path, content=PHOTOGRAPH, headers={"x-timeout-ms": "20000"})
    assert reply.status_code == 200, reply.text


@pytest.mark.usefixtures("busy_threads")
def test_the_lab_and_metrics_are_answered_while_the_shared_threads_are_busy(client):
    late = {"x-timeout-ms": "20000"}
    assert client.post("/v1/convolve", json={"image": [[1]], "kernel": [[1]]}, headers=late).status_code == 200
    assert client.get("/metrics", headers=late).status_code == 200
    pixels = {"name": "image", "shape": [4, 32, 32, 3], "datatype": "UINT8", "data": [200] * 4 * 32 * 32 * 3}
    path = "/v2/models/network/infer"
    assert client.post(path, json={"inputs": [pixels]}, headers=late).status_code == 200
