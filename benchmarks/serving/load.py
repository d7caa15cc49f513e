"""Load on 127.0.0.1: ``wrk`` for so many connections, and a fixed rate of arrivals whatever the server does."""

import asyncio
import json
import os
import shutil
import statistics
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).with_name("post.lua")


@dataclass(frozen=True)
class Load:
    """Where to post what."""

    port: int
    path: str
    body: Path
    content_type: str


@dataclass(frozen=True)
class Outcome:
    """Answers a second that were right (2xx), their milliseconds, and how many were not."""

    rate: float
    p50: float
    p95: float
    p99: float
    errors: int


def check_wrk() -> None:
    """End with a sentence where wrk is missing."""
    if shutil.which("wrk") is None:
        raise SystemExit(
            "wrk is missing, which makes the load. Install it (Debian: apt-get install wrk) and run again."
        )


def closed(load: Load, connections: int, seconds: float) -> Outcome:
    """So many connections, each posting again as soon as it has its answer, from one thread of wrk."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "30s", "-s", str(SCRIPT)]
    environment = os.environ | {"BODY": str(load.body), "CONTENT_TYPE": load.content_type}
    url = f"http://127.0.0.1:{load.port}{load.path}"
    ended = subprocess.run([*command, url], capture_output=True, text=True, env=environment, timeout=seconds + 60)
    found = [line for line in ended.stdout.splitlines() if line.startswith("RESULT ")]
    if not found:
        raise RuntimeError(f"wrk on {url}: {ended.stdout}{ended.stderr}")
    got = json.loads(found[0].removeprefix("RESULT "))
    rate = (got["requests"] - got["refused"]) / got["seconds"]
    return Outcome(rate, got["p50"], got["p95"], got["p99"], got["refused"] + got["broken"])


def paced(load: Load, rate: float, seconds: float, connections: int = 64) -> Outcome:
    """Arrivals at a fixed rate, timed from when each was due, so that a stall counts for all it held up."""
    return asyncio.run(_paced(load, rate, seconds, connections))


async def _paced(load: Load, rate: float, seconds: float, connections: int) -> Outcome:
    body = load.body.read_bytes()
    head = (
        f"POST {load.path} HTTP/1.1\r\nHost: 127.0.0.1:{load.port}\r\n"
        f"Content-Type: {load.content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    request = head.encode() + body
    due: asyncio.Queue[float | None] = asyncio.Queue()
    times: list[float] = []
    errors = 0

    async def connection() -> None:
        nonlocal errors
        link = None
        while (when := await due.get()) is not None:
            try:
                if link is None:
                    link = await asyncio.open_connection("127.0.0.1", load.port)
                link[1].write(request)
                right = await _right(link[0])
            except (OSError, asyncio.IncompleteReadError, ValueError):
                right, link = False, None
            if right:
                times.append(time.perf_counter() - when)
            else:
                errors += 1
        if link is not None:
            link[1].close()

    crew = [asyncio.create_task(connection()) for _ in range(connections)]
    began = time.perf_counter()
    for number in range(int(rate * seconds)):
        when = began + number / rate
        await asyncio.sleep(max(0.0, when - time.perf_counter()))
        due.put_nowait(when)
    for _ in crew:
        due.put_nowait(None)
    await asyncio.gather(*crew)
    took = time.perf_counter() - began
    cuts = [value * 1e3 for value in statistics.quantiles(times, n=100)] if len(times) > 1 else [0.0] * 99
    return Outcome(len(times) / took, cuts[49], cuts[94], cuts[98], errors)


async def _right(reader: asyncio.StreamReader) -> bool:
    """Read one reply; whether it was a 2xx."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode("latin-1").lower().split("\r\n")
    length = next((int(line.partition(":")[2]) for line in lines if line.startswith("content-length:")), None)
    if length is None:
        while (line := await reader.readuntil(b"\r\n")) != b"0\r\n":
            await reader.readexactly(int(line, 16) + 2)
        await reader.readuntil(b"\r\n")
    else:
        await reader.readexactly(length)
    return lines[0].split()[1].startswith("2")
