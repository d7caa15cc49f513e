import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest

from service.process import supervisor
from service.process.supervisor import socket_family, worker_arguments

# In place of a worker, by its name: tells whoever connects its number and how it was started.
WORKER = """
import os, socket, sys
number = int(sys.argv[sys.argv.index("--fd") + 1])
with socket.socket(fileno=number) as listener:
    listener.setblocking(True)
    while True:
        link, _ = listener.accept()
        with link:
            link.sendall(f"{os.getpid()} {' '.join(sys.argv[1:])}".encode())
"""


@pytest.mark.parametrize(
    ("host", "family"), [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6), ("localhost", socket.AF_INET)]
)
def test_an_address_has_a_family(host, family):
    assert socket_family(host) == family


def test_bentoml_s_worker_knows_its_options():
    words = worker_arguments("a:B", ["--timeout-keep-alive", "75", "--timeout-graceful-shutdown", "8"])
    done = subprocess.run([sys.executable, *words[:2], "--help"], capture_output=True, text=True, timeout=60)
    asked = [word for word in words if word.startswith("--")]
    assert len(asked) == 5
    assert [option for option in asked if option not in done.stdout] == []


@pytest.fixture
def supervised(tmp_path):
    """Two stand-in workers below a supervisor: its process, and what one who connects is told."""
    package = tmp_path / "service"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "worker.py").write_text(WORKER)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # The supervisor is ours; its workers are found from its working directory, where ``service`` is another one.
    words = [sys.executable, supervisor.__file__, "a:B", "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen([*words, "--workers", "2", "--more", "7"], cwd=tmp_path)

    def ask():
        for _ in range(600):
            try:
                with socket.create_connection(("127.0.0.1", port), 60) as link:
                    return link.makefile().read()
            except ConnectionRefusedError:
                time.sleep(0.1)
        raise TimeoutError

    yield process, ask, port
    process.kill()
    process.wait()


def test_workers_share_one_socket_and_the_dead_are_replaced(supervised):
    process, ask, port = supervised
    pid, _, words = ask().partition(" ")
    assert words.startswith("a:B --fd ")
    assert words.endswith("--backlog 2048 --more 7")
    before = {child.pid for child in psutil.Process(process.pid).children()}
    assert len(before) == 2
    assert int(pid) in before
    psutil.Process(int(pid)).kill()
    crew = set()
    while int(pid) in crew or len(crew) < 2:
        crew = {child.pid for child in psutil.Process(process.pid).children()}
    assert len(crew & before) == 1
    assert int(ask().partition(" ")[0]) in crew
    # Nobody can give it orders: it listens to nothing but what the workers answer.
    listens = [link.laddr.port for link in psutil.Process(process.pid).net_connections() if link.status == "LISTEN"]
    assert listens == [port]
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert not any(psutil.pid_exists(pid) for pid in crew)
