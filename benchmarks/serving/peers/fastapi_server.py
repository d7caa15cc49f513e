"""FastAPI: the raw body, then decode and network in its thread pool; ``uvicorn`` with uvloop and httptools."""

import os

import anyio.to_thread
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import ORJSONResponse

from benchmarks.serving.peers import work

app = FastAPI()
run = work.open_network() if os.environ.get("PEER_CHILD") or work.WORKERS == 1 else None
limiter: list[anyio.CapacityLimiter] = []


@app.get("/ready")
async def ready() -> dict[str, bool]:
    """Whether it answers."""
    return {"ready": True}


@app.post("/classify")
async def classify(request: Request) -> ORJSONResponse:
    """The best label of one image."""
    if not limiter:
        limiter.append(anyio.CapacityLimiter(work.THREADS))
    return ORJSONResponse(await anyio.to_thread.run_sync(_work, await request.body(), limiter=limiter[0]))


def _work(data: bytes) -> dict[str, object]:
    assert run is not None
    return work.answer(run(work.pixels_of(data)[None])[0])


if __name__ == "__main__":
    os.environ["PEER_CHILD"] = "1"  # uvicorn's worker processes import this module anew
    target = app if work.WORKERS == 1 else "benchmarks.serving.peers.fastapi_server:app"
    # A worker that still loads the network answers nobody, and would be taken for dead after five seconds.
    patience = {"timeout_worker_healthcheck": 120}
    uvicorn.run(target, host="127.0.0.1", port=work.PORT, workers=work.WORKERS, access_log=False, **patience)
