"""What ``service.compatibility`` leans on, and that it is still needed."""

import json
import os
import subprocess
import sys
from importlib.metadata import version

import pytest

from service.compatibility import METRICS_FILE_BYTES

# Labels until the file is full, with no descriptor left: what the size was, and whether a label was lost.
GROW = """
import os, resource, sys
if sys.argv[1] == "long":
    from service.compatibility import make_metric_files_long
    make_metric_files_long()
from prometheus_client import Counter
counted = Counter("counted", "Counted.", ("label",))
counted.labels("first").inc()
folder = os.environ["PROMETHEUS_MULTIPROC_DIR"]
path = os.path.join(folder, f"counter_{os.getpid()}.db")
print(os.path.getsize(path))
none_left = max(map(int, os.listdir("/proc/self/fd"))) + 1
before = resource.getrlimit(resource.RLIMIT_NOFILE)
held = [os.open("/dev/null", os.O_RDONLY) for _ in range(2)]
os.close(held[1])
resource.setrlimit(resource.RLIMIT_NOFILE, (held[0] + 1, before[1]))
try:
    for number in range(500):
        counted.labels(str(number) + "x" * 100).inc()
    print("kept")
except OSError:
    print("lost")
"""


def grow(tmp_path, way):
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    command = [sys.executable, "-c", GROW, way]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    return done.stdout.splitlines() or done.stderr


def test_metric_files_do_not_have_to_grow(tmp_path):
    assert grow(tmp_path, "long") == [str(METRICS_FILE_BYTES), "kept"], version("prometheus_client")


def test_prometheus_client_alone_would_lose_labels(tmp_path):
    """When this fails, new files are long enough, and ``make_metric_files_long`` may go."""
    size, after = grow(tmp_path, "plain")
    assert int(size) < METRICS_FILE_BYTES
    assert after == "lost", version("prometheus_client")


TLS = """
import json
from service.app import asgi
from service.compatibility import tls_options
asgi()
print("options:", json.dumps(tls_options()))
"""


def tls(**options):
    words = " ".join(f"services.catseye.ssl.{key}={value}" for key, value in options.items())
    environment = os.environ | {"BENTOML_CONFIG_OPTIONS": words}
    done = subprocess.run([sys.executable, "-c", TLS], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.rpartition("options: ")[2])


def test_bentoml_s_configuration_of_tls_becomes_uvicorn_s(tmp_path):
    given = {"enabled": "true", "certfile": "/a.pem", "keyfile": "/b.pem", "cert_reqs": "2", "ca_certs": "/c.pem"}
    found = tls(**given)
    expected = {"ssl_certfile": "/a.pem", "ssl_keyfile": "/b.pem", "ssl_cert_reqs": 2, "ssl_ca_certs": "/c.pem"}
    assert expected.items() <= found.items(), version("bentoml")
    assert found["ssl_version"] == 17
    import inspect

    import uvicorn

    assert found.keys() <= inspect.signature(uvicorn.Config).parameters.keys(), version("uvicorn")


@pytest.mark.parametrize("options", [{}, {"enabled": "false", "certfile": "/a.pem"}])
def test_no_tls_unless_it_is_enabled(options):
    assert tls(**options) == {}
