"""The BentoML service: what only shows in a real process is in tests/e2e."""

import os
import subprocess
import sys


def run(code, **environment):
    child = [sys.executable, "-c", code]
    return subprocess.run(child, env={**os.environ, **environment}, capture_output=True, text=True)


def test_a_bad_setting_stops_the_start_and_names_the_key():
    found = run("import service.app", CATSEYE_WORKERS="many")
    assert found.returncode != 0
    assert "CATSEYE_WORKERS" in found.stderr.splitlines()[-1]


def test_the_service_has_the_workers_and_the_time_that_were_set():
    code = "from service.app import Catseye as c; print(c.name, c.config['workers'], c.config['traffic']['timeout'])"
    found = run(code, CATSEYE_WORKERS="3", CATSEYE_TIMEOUT="5")
    assert found.stdout.split() == ["catseye", "3", "35.0"]


def test_our_middleware_is_the_first_to_see_a_request_unless_bentoml_is_configured():
    code = "from service.app import Catseye, asgi; print(type(asgi()).__module__, len(Catseye.middlewares))"
    assert run(code).stdout.split()[-2:] == ["service.asgi.middleware", "0"]
    found = run(code, BENTOML_CONFIG_OPTIONS="tracing.sample_rate=1.0")
    assert found.stdout.split()[-2:] == ["starlette.applications", "1"], found.stderr


PROBES = """
import anyio, asyncio, httpx, threading
from service.app import asgi

async def main():
    app = asgi()
    began, end = asyncio.Event(), asyncio.Event()
    async def receive():
        if not began.is_set():
            return {"type": "lifespan.startup"}
        await end.wait()
        return {"type": "lifespan.shutdown"}
    async def send(message):
        began.set()
    living = asyncio.create_task(app({"type": "lifespan", "state": {}}, receive, send))
    await began.wait()
    free = threading.Event()
    held = [asyncio.create_task(anyio.to_thread.run_sync(free.wait)) for _ in range(100)]
    await asyncio.sleep(0.1)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test") as client:
        for path in ("/livez", "/readyz", "/healthz"):
            async with asyncio.timeout(20):
                print((await client.get(path)).status_code)
    free.set()
    await asyncio.gather(*held)
    end.set()
    await living

asyncio.run(main())
"""


def test_probes_are_answered_while_other_work_holds_every_thread(tmp_path):
    found = run(PROBES, BENTOML_HOME=str(tmp_path))
    assert found.returncode == 0, found.stderr[-2000:]
    assert found.stdout.split()[-3:] == ["200", "503", "200"]  # no model is stored
