"""Hostile files and hostile requests, by the ten thousand."""

import asyncio
import importlib.util
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.processes import whole
from tests.chaos.row import Row, not_run
from tests.chaos.traffic import read_reply
from tests.support import ROOT
from tests.support.hostile import MOST_MEMORY_KB, WHOLE
from tests.support.servers import Live
from tests.support.waiting import seconds_until

ROUTES = (
    "/v1/classify", "/v1/feature-maps", "/v1/explain", "/v1/embed", "/v1/convolve", "/v1/models", "/v1/models/steady",
    "/v2/models/steady/infer", "/v2/models/steady", "/v2", "/metrics", "/docs", "/openapi.json", "/page/", "/",
)  # fmt: skip
WORDS = (
    "model", "version", "variant", "top_k", "layer", "channels", "format", "label", "latency_budget_ms", "size", "x",
)  # fmt: skip
VALUES = (
    "", "0", "-1", "1e999", "nan", "steady", "fast", "png", "npz", "tiles", "all", "strongest:8", "0-99999",
    "..%2f..%2fetc", "%00", "%0d%0aset-cookie:%20a=b", "%F0%9F%98%BC", "a" * 3000, "9" * 400, "${jndi}", "%ff",
    "latest", "0,0,0",
)  # fmt: skip
TYPES = (
    "image/jpeg", "application/json", "multipart/form-data; boundary=x", "multipart/form-data", "text/plain", "",
    "application/octet-stream", "image/\xff",
)  # fmt: skip
MOST_SECONDS = 30


def corpus() -> Row:
    """Every hostile file of the tests, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.hostile"], cwd=ROOT, capture_output=True, text=True, timeout=600
    )
    report = json.loads(done.stdout)
    lost = sum(isinstance(outcome, str) for outcome in report["outcomes"].values())
    note = f"slowest {report['slowest'][0][1]:.1f} s, peak {report['peak_kb'] // 1000} MB"
    return Row("hostile images", report["files"], lost, None, not lost and report["peak_kb"] < MOST_MEMORY_KB, note)


def fuzzed(cases: int, processes: int = 1) -> Row:
    """Images that hypothesis breaks, in so many processes side by side, each with a seed of its own."""
    name, share = "images broken by hypothesis", -(-cases // processes)
    commands = [[sys.executable, "-m", "tests.chaos.fuzz", str(share), str(seed)] for seed in range(processes)]
    crew = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for command in commands
    ]
    ended = [(*process.communicate(timeout=3600), process.returncode) for process in crew]
    for _, errors, code in ended:
        if code:
            return Row(name, cases, 1, None, False, errors[-300:])
    reports = [json.loads(printed) for printed, _, _ in ended]
    failures = [failure for report in reports for failure in report["failures"]]
    slowest, peak = max(report["slowest"] for report in reports), max(report["peak_kb"] for report in reports)
    tries = sum(report["cases"] for report in reports)
    note = f"slowest {slowest:.1f} s, peak {peak // 1000} MB{''.join(failures[:1])}"
    held = not failures and tries >= cases and peak < MOST_MEMORY_KB and slowest < MOST_SECONDS
    return Row(name, tries, len(failures), None, held, note)


def guided(runs: int) -> Row:
    """Images that atheris finds by the branches they take; says so where it is not installed."""
    name = "images found by atheris"
    if importlib.util.find_spec("atheris") is None:
        return not_run(name, "atheris not found. Install: pip install atheris")
    with tempfile.TemporaryDirectory() as folder:
        for number, data in enumerate(WHOLE):
            Path(folder, str(number)).write_bytes(data)
        command = [sys.executable, "-m", "tests.chaos.guided", f"-runs={runs}", "-timeout=20", "-rss_limit_mb=1000"]
        # A child counts the memory that we had when it was forked as its own, a grandchild does not.
        shell = ["sh", "-c", '"$@"; exit $?', "sh"]
        done = subprocess.run(
            [*shell, *command, "-max_len=4096", f"-artifact_prefix={folder}/", folder],
            cwd=ROOT, capture_output=True, text=True, timeout=3600,
        )  # fmt: skip
    found = re.findall(r"Done (\d+) runs", done.stderr)
    ran = int(found[-1]) if found else 0
    lost = int(done.returncode != 0)
    return Row(name, ran, lost, None, not lost and ran >= runs, "" if not lost else done.stderr[-300:])


def requests(live: Live, cases: int, clients: int = 16) -> Row:
    """Every route with bodies, queries and headers that nobody should send: an answer below 500 to each, in time."""
    port = live.port
    answered: dict[int, int] = {}
    bad: list[str] = []
    slowest = 0.0

    async def client(first: int) -> None:
        nonlocal slowest
        link = None
        for number in range(first, cases, clients):
            ask = _request(random.Random(number), port)
            began = time.monotonic()
            try:
                link = link or await asyncio.open_connection("127.0.0.1", port)
                link[1].write(ask)
                reply = await asyncio.wait_for(read_reply(link[0]), MOST_SECONDS)
            except (OSError, asyncio.IncompleteReadError, ValueError) as error:
                bad.append(f"{error!r} to {ask[:300]!r}")
                link = None
                continue
            slowest = max(slowest, time.monotonic() - began)
            answered[reply.status] = answered.get(reply.status, 0) + 1
            if reply.status >= 500:
                bad.append(f"{reply.status} to {ask[:300]!r}")
            if "set-cookie" in reply.headers:
                bad.append(f"a header of the client's to {ask[:300]!r}")
            if reply.headers.get("connection", "").lower() == "close":
                link[1].close()
                link = None
        if link is not None:
            link[1].close()

    async def run() -> None:
        await asyncio.gather(*(client(first) for first in range(clients)))

    asyncio.run(run())
    for line in bad[:5]:
        print(line, file=sys.stderr)
    statuses = ", ".join(f"{status}: {count:,}" for status, count in sorted(answered.items()))
    held = not bad and seconds_until(lambda: whole(live, 2)) is not None
    return Row("hostile requests, every route", cases, len(bad), None, held, f"{statuses}; slowest {slowest:.1f} s")


def _request(chance: random.Random, port: int) -> bytes:
    route = chance.choice(ROUTES)
    method = "GET" if chance.random() < (0.8 if route in ROUTES[5:7] + ROUTES[8:] else 0.05) else "POST"
    query = "&".join(f"{chance.choice(WORDS)}={chance.choice(VALUES)}" for _ in range(chance.randrange(4)))
    body = b"" if method == "GET" else _body(chance)
    lines = [f"{method} {route}{'?' + query if query else ''} HTTP/1.1", f"Host: 127.0.0.1:{port}"]
    lines += [f"Content-Type: {chance.choice(TYPES)}", f"Content-Length: {len(body)}"]
    if chance.random() < 0.2:
        lines.append(f"x-request-id: {chance.choice(('a' * 500, '<b>', 'x y', chr(233), '%0d%0a'))}")
    if chance.random() < 0.1:
        lines.append(f"inference-header-content-length: {chance.choice(('-1', '99999', 'x', '3'))}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def _body(chance: random.Random) -> bytes:
    kind = chance.randrange(6)
    data = bytearray(chance.choice(WHOLE))
    if kind == 0:
        return bytes(data)
    if kind == 1:
        for _ in range(chance.randrange(1, 8)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        return bytes(data[: chance.randrange(1, len(data) + 1)])
    if kind == 2:
        return chance.randbytes(chance.randrange(400))
    if kind == 3:
        parts = chance.choice((b"image", b"picture", b'im"age', b"\xff"))
        head = b'--x\r\nContent-Disposition: form-data; name="' + parts + b'"; filename="a\r\nb"\r\n\r\n'
        return head + bytes(data[:300]) + chance.choice((b"\r\n--x--\r\n", b"", b"\r\n--x\r\n"))
    values = (None, -1, 1e308, "x", [], {}, [[1, 2], [3]], [[[]]], True, "A" * 500, {"type": "max", "size": 0})
    keys = ("image", "kernel", "stride", "padding", "pool", "inputs", "outputs", "id", "parameters")
    made = {key: chance.choice(values) for key in chance.sample(keys, chance.randrange(5))}
    if chance.random() < 0.3:
        shape, kind_of = chance.choice(([1], [-1], [1, 32, 32, 3])), chance.choice(("UINT8", "BYTES", "FP32", "?"))
        name = chance.choice(("images", "x"))
        made["inputs"] = [{"name": name, "shape": shape, "datatype": kind_of, "data": chance.choice(values)}]
    text = json.dumps(made).encode()
    return text if kind == 4 else text[: chance.randrange(len(text) + 1)]
