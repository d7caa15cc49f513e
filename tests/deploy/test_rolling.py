"""Two replicas behind a real proxy, each restarted in turn under load: no request fails."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.images import png
from tests.support.load import keep_asking
from tests.support.networks import fill_store
from tests.support.programs import need
from tests.support.servers import free_port, serving
from tests.support.waiting import wait_for

pytestmark = pytest.mark.long

PHOTOGRAPH = png(40, 40)
SETTINGS = {"CATSEYE_DRAIN_SECONDS": "2"}


@contextmanager
def proxy(folder: Path, ports: list[int]) -> Iterator[str]:
    """HAProxy in front of the replicas, sending work only to those whose ``/readyz`` is 200."""
    program = need("haproxy")
    port = free_port()
    check = "check inter 200ms fall 1 rise 1"
    servers = "\n".join(f"  server r{number} 127.0.0.1:{each} {check}" for number, each in enumerate(ports))
    configuration = folder / "haproxy.cfg"
    configuration.write_text(
        f"""defaults
  mode http
  timeout connect 5s
  timeout check 10s
  timeout client 60s
  timeout server 60s
listen catseye
  bind 127.0.0.1:{port}
  balance roundrobin
  option httpchk GET /readyz
{servers}
"""
    )
    process = subprocess.Popen([program, "-db", "-f", str(configuration)])
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def test_a_rolling_restart_under_load_fails_no_request(tmp_path: Path) -> None:
    fill_store(tmp_path / "bentoml")
    ports = [free_port(), free_port()]
    client = httpx.Client(timeout=60)

    def ask() -> str:
        try:
            reply = client.post(f"{address}/v1/classify", content=PHOTOGRAPH)
        except httpx.HTTPError as error:
            return repr(error)
        return "200" if reply.status_code == 200 else f"{reply.status_code} {reply.text}"

    with ExitStack() as replicas, client, proxy(tmp_path, ports) as address:
        first, second = (replicas.enter_context(serving(tmp_path / "bentoml", port=port, **SETTINGS)) for port in ports)
        wait_for("the proxy", lambda: httpx.get(f"{address}/readyz", timeout=5).status_code == 200)
        with keep_asking(ask) as answers:
            for old, port in ((first, ports[0]), (second, ports[1])):
                before = len(answers)
                old.process.terminate()
                assert old.process.wait(90) == 0
                replicas.enter_context(serving(tmp_path / "bentoml", port=port, **SETTINGS))
                time.sleep(1)  # until the proxy has seen that it is back
                assert len(answers) > before
    assert set(answers) == {"200"}
    print(f"{len(answers)} requests while two replicas were restarted in turn, none failed")
