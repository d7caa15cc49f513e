"""``catseye serve`` as users start it, on a store with one small network."""

import http.client
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil
import pytest

from models.errors import BadParameter
from service.process.supervisor import listen
from tests.support import servers
from tests.support.images import jpeg
from tests.support.networks import make_model

ROOT = Path(__file__).parents[3]
PHOTOGRAPH = jpeg(80, 80, seed=1)
CERTIFICATE = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgxVQuLsjC0xZvA8n6
XHi1WyBiqdH1kYwv/KClufsVhzShRANCAAQrmApDervVUVDZ1F83YYLIfdVTD01z
rdL275rLx+ZTdKREY9wcaXPFUVNVo8eXXaoNlzPGkmVKsHNn2OrrpUb+
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBkTCCATagAwIBAgIUPEGExkWmNyQv2bpxdDLMUwi+yYwwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyOTE3MzMzOFoYDzIxMjYxMTA1
MTczMzM4WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAQrmApDervVUVDZ1F83YYLIfdVTD01zrdL275rLx+ZTdKREY9wcaXPF
UVNVo8eXXaoNlzPGkmVKsHNn2OrrpUb+o2QwYjAdBgNVHQ4EFgQUhq3qo5cWPWUV
jK1BX1xTvoumMe0wHwYDVR0jBBgwFoAUhq3qo5cWPWUVjK1BX1xTvoumMe0wDwYD
VR0TAQH/BAUwAwEB/zAPBgNVHREECDAGhwR/AAABMAoGCCqGSM49BAMCA0kAMEYC
IQChOfdoDUJORjqjNSgzfSx0yqx8Kua5/1tUaZJ4AUqu5wIhAKIL8UfewhnuHiDs
5fX3UqasycJv34lfjgfGEBEJA4No
-----END CERTIFICATE-----
"""
"""A key and its own certificate for 127.0.0.1, for tests only."""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    home = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTOML_HOME", str(home))
        make_model("small", backbone="cnn", size=32)
    return home


@contextmanager
def serving(store, **settings):
    live = servers.start(store, command="catseye", **settings)
    try:
        yield live
    finally:
        servers.stop(live)


@pytest.fixture(scope="module")
def two(store):
    """A server with two workers, both ready."""
    with serving(store, CATSEYE_WORKERS="2", CATSEYE_HANG_SECONDS="5", CATSEYE_ACCESS_LOG="false") as live:
        until(lambda: started(live) == 2, "both workers are ready")
        yield live


def started(live):
    """How many workers have ever become ready."""
    return live.output().count("Application startup complete")


def workers(live):
    return psutil.Process(live.process.pid).children()


def until(condition, what, seconds=60):
    ends = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < ends, f"not in {seconds} s: {what}"
        time.sleep(0.05)
    return found


def port_of(live):
    return int(live.address.rpartition(":")[2])


class Clients:
    """Four clients that ask without pause, each on a connection that it keeps, while the block runs."""

    def __init__(self, live):
        self.seen, self._live, self._ended = Counter(), live, threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(4)]

    def _ask(self):
        link = http.client.HTTPConnection("127.0.0.1", port_of(self._live), timeout=60)
        while not self._ended.is_set():
            try:
                link.request("POST", "/v1/classify", body=PHOTOGRAPH)
                reply = link.getresponse()
                reply.read()
                self.seen[reply.status] += 1
            except (http.client.HTTPException, OSError) as error:
                self.seen[repr(error)] += 1
                link.close()

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        until(lambda: self.seen[200] > 20, "requests are answered")
        return self

    def __exit__(self, *_):
        self._ended.set()
        for thread in self._threads:
            thread.join()


def test_an_address_that_cannot_be_listened_on_is_a_sentence():
    with listen("127.0.0.1", 0, 30) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BadParameter, match=f"127.0.0.1:{port}: Address already in use"):
            listen("127.0.0.1", port, 30)
    listen("127.0.0.1", port, 30).close()
    with pytest.raises(BadParameter, match=r"203\.0\.113\.7"):
        listen("203.0.113.7", 0, 30)


@pytest.mark.parametrize(("host", "client"), [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("localhost", "127.0.0.1")])
def test_an_address_is_of_either_family_or_a_name(host, client):
    try:
        listener = listen(host, 0, 30)
    except BadParameter:
        pytest.skip("this machine has no IPv6")
    with listener:
        socket.create_connection((client, listener.getsockname()[1]), 10).close()


def test_the_kernel_ends_a_connection_whose_client_does_not_read():
    with listen("127.0.0.1", 0, 0.5) as listener:
        silent = socket.socket()
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        reader = socket.socket()
        links = []
        for client in (silent, reader):
            client.connect(listener.getsockname())
            links.append(listener.accept()[0])
        links[0].setblocking(False)
        with suppress(BlockingIOError):
            while True:
                links[0].send(b"x" * 65_536)
        until(lambda: links[0].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), "the kernel ends it")
        links[1].sendall(b"still here")
        assert reader.recv(10) == b"still here"
        for link in (silent, reader, *links):
            link.close()


def test_a_worker_that_gets_sigterm_leaves_alone_and_loses_no_request(two):
    """It used to end the whole server for good: 19 of the next 20 requests failed, with all processes alive."""
    before = started(two)
    with Clients(two) as clients:
        leaving = workers(two)[0]
        leaving.terminate()
        until(lambda: started(two) == before + 1, "another worker has taken its place")
        more = clients.seen[200] + 50
        until(lambda: clients.seen[200] > more, "requests are answered")
    assert set(clients.seen) == {200}
    assert leaving.pid not in {worker.pid for worker in workers(two)}
    assert {httpx.get(f"http://{two.address}/readyz").status_code for _ in range(20)} == {200}


def test_all_workers_one_after_another(two):
    """Those that took a place are no more draining than the first ones were."""
    for number in range(2):
        before, leaving = started(two), workers(two)[0]
        leaving.terminate()
        until(lambda: started(two) == before + 1, f"worker {number} is replaced")  # noqa: B023
    assert {httpx.get(f"http://{two.address}/readyz").status_code for _ in range(20)} == {200}
    with Clients(two) as clients:
        time.sleep(0.5)
    assert set(clients.seen) == {200}


def test_a_worker_that_is_killed_is_replaced_at_once(two):
    before, victim = started(two), workers(two)[0]
    victim.kill()
    until(lambda: started(two) == before + 1, "another worker is ready")
    assert f"worker {victim.pid} was killed by signal 9; another starts" in two.output()
    assert len(workers(two)) == 2


def test_a_worker_that_hangs_is_killed_and_replaced(two):
    before, victim = started(two), workers(two)[0]
    victim.suspend()
    until(lambda: started(two) == before + 1, "another worker is ready", 120)
    assert f"worker {victim.pid} sent no heartbeat" in two.output()
    assert len(workers(two)) == 2


def test_it_listens_nowhere_but_where_it_was_told_to(two):
    tree = [psutil.Process(two.process.pid), *workers(two)]
    assert len(tree) == 3
    listens = {link.laddr.port for each in tree for link in each.net_connections() if link.status == "LISTEN"}
    assert listens == {port_of(two)}


def upload(live, head, body):
    """Send a request whose body comes slowly; the reply."""
    with socket.create_connection(("127.0.0.1", port_of(live)), 60) as link:
        link.sendall(head)
        for start in range(0, len(body), 500_000):
            link.sendall(body[start : start + 500_000])
            time.sleep(0.1)
        reply = b""
        while more := link.recv(65_536):
            reply += more
        return reply


@pytest.mark.parametrize("late", [False, True])
def test_a_large_upload_gets_its_answer_while_the_server_ends(store, late):
    body = PHOTOGRAPH + bytes(10_000_000)
    head = f"POST /v1/classify HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    with serving(store, CATSEYE_DRAIN_SECONDS="0") as live:
        if late:  # so that its head comes when new work is refused
            live.process.terminate()
            until(lambda: live.client.get("/readyz").status_code == 503, "unready")
            assert upload(live, head, body).startswith(b"HTTP/1.1 503")
        else:
            timer = threading.Timer(0.5, live.process.terminate)
            timer.start()
            assert upload(live, head, body).startswith(b"HTTP/1.1 200")
        assert live.process.wait(60) == 0


def test_workers_end_when_their_supervisor_is_killed(store):
    with serving(store, CATSEYE_WORKERS="2") as live:
        left = workers(live)
        live.process.kill()
        live.process.wait()
        assert psutil.wait_procs(left, 60)[1] == []
        listen("127.0.0.1", port_of(live), 30).close()


def test_a_second_signal_ends_at_once(store):
    with serving(store, CATSEYE_DRAIN_SECONDS="600") as live:
        live.process.terminate()
        until(lambda: live.client.get("/readyz").status_code == 503, "unready")
        assert live.client.post("/v1/classify", content=PHOTOGRAPH).status_code == 200
        live.process.terminate()
        assert live.process.wait(60) == 0


def test_ctrl_c_ends_without_draining(store):
    with serving(store, CATSEYE_DRAIN_SECONDS="600") as live:
        live.process.send_signal(signal.SIGINT)
        assert live.process.wait(60) == 0


def test_it_serves_from_any_folder(store, tmp_path):
    """The command of a worker used to be split at the first space."""
    root, temporary = tmp_path / 'it\'s a "test" – 폴더 $HOME [x] {y} %z', tmp_path / "tmp [1] $x it's"
    temporary.mkdir()
    for package in ("models", "service", "training"):
        shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "catseye.py", root)
    home = tmp_path / "store [x] 폴더 it's"  # BentoML expands variables in its home, so that it has no $
    shutil.copytree(store, home)
    port = servers.free_port()
    environment = {
        **os.environ,
        "PYTHONPATH": str(root),
        "BENTOML_HOME": str(home),
        "TMPDIR": str(temporary),
        "CATSEYE_TUNE_SECONDS": "0",
        "CATSEYE_DRAIN_SECONDS": "0",
    }
    log = tmp_path / "log"
    # From another folder, which has packages of these names.
    elsewhere = tmp_path / "elsewhere"
    for package in ("models", "service"):
        (elsewhere / package).mkdir(parents=True)
        (elsewhere / package / "__init__.py").write_text("raise RuntimeError('not ours')")
    with log.open("wb") as output:
        words = [sys.executable, str(root / "catseye.py"), "serve", "--host", "127.0.0.1", "--port", str(port)]
        process = subprocess.Popen(words, cwd=elsewhere, env=environment, stdout=output, stderr=output)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:

            def ready():
                assert process.poll() is None, log.read_text()
                with suppress(httpx.HTTPError):
                    return client.get("/readyz").status_code == 200
                return False

            until(ready, "ready")
            assert client.post("/v1/classify", content=PHOTOGRAPH).status_code == 200
            assert "catseye_worker_starts_total 1.0" in client.get("/metrics").text
        process.terminate()
        assert process.wait(60) == 0
        assert list(temporary.iterdir()) == []
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("CATSEYE_WORKERS", "many", "CATSEYE_WORKERS"),
        ("BENTOML_CONFIG", "/nowhere.yaml", "/nowhere.yaml"),
        ("BENTOML_CONFIG_OPTIONS", "nonsense", "BENTOML_CONFIG_OPTIONS"),
        ("BENTOML_CONFIG_OPTIONS", "services.catseye.ssl.enabled=true", "services.catseye.ssl.certfile"),
    ],
)
def test_an_environment_that_cannot_be_read_ends_the_start_in_a_sentence(store, variable, value, said):
    environment = {**os.environ, "BENTOML_HOME": str(store), "CATSEYE_TUNE_SECONDS": "0", variable: value}
    words = [sys.executable, "-m", "catseye", "serve", "--host", "127.0.0.1", "--port", str(servers.free_port())]
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    sentences = [line for line in done.stderr.splitlines() if line.startswith("catseye: ")]
    assert len(sentences) == 1
    assert said in sentences[0]


def test_tls_of_bentoml_s_configuration_is_served(store, tmp_path):
    """A relative path is meant from the folder where the command is given."""
    (tmp_path / "both.pem").write_text(CERTIFICATE)
    keys = ("enabled=true", "certfile=both.pem", "keyfile=both.pem", "ciphers=DEFAULT")
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "BENTOML_HOME": str(store),
        "BENTOML_CONFIG_OPTIONS": " ".join(f"services.catseye.ssl.{key}" for key in keys),
        "CATSEYE_TUNE_SECONDS": "0",
        "CATSEYE_DRAIN_SECONDS": "0",
    }
    port = servers.free_port()
    words = [sys.executable, "-m", "catseye", "serve", "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(words, cwd=tmp_path, env=environment) as process:
        context = ssl.create_default_context(cafile=str(tmp_path / "both.pem"))
        with httpx.Client(base_url=f"https://127.0.0.1:{port}", timeout=60, verify=context) as client:

            def ready():
                assert process.poll() is None
                with suppress(httpx.HTTPError):
                    return client.get("/readyz").status_code == 200
                return False

            until(ready, "ready")
            assert client.post("/v1/classify", content=PHOTOGRAPH).status_code == 200
        process.terminate()
        assert process.wait(60) == 0
