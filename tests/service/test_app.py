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


def test_the_middleware_is_outside_bentoml_unless_bentoml_is_configured():
    code = "from service.app import Catseye as c; print(type(c.to_asgi(is_main=True)).__name__, len(c.middlewares))"
    assert run(code).stdout.split()[-2:] == ["ServiceMiddleware", "0"]
    found = run(code, BENTOML_CONFIG_OPTIONS="tracing.sample_rate=1.0")
    assert found.stdout.split()[-2:] == ["Starlette", "1"], found.stderr
