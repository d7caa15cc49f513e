import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from models.errors import BadParameter
from service.process.drain import Drain
from service.process.launcher import TARGET, _Exit, check_free, command, environment_of, private_home
from service.settings import Settings


def test_a_taken_port_and_a_strange_host_are_refused_in_a_sentence():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(BadParameter, match=f"127.0.0.1:{port}"):
            check_free("127.0.0.1", port)
    check_free("127.0.0.1", port)
    with pytest.raises(BadParameter, match=r"203\.0\.113\.7"):
        check_free("203.0.113.7", port)


def test_the_command_serves_our_service_with_bounded_shutdown():
    words = command("127.0.0.1", 4000, Settings(timeout=7.5, workers=3))
    assert words[:4] == [sys.executable, "-m", "service.process.supervisor", TARGET]
    assert words[words.index("--port") + 1] == "4000"
    assert words[words.index("--workers") + 1] == "3"
    assert words[words.index("--timeout-graceful-shutdown") + 1] == "8"


def test_whoever_configures_bentoml_gets_bentoml_s_supervisor(monkeypatch):
    monkeypatch.setenv("BENTOML_CONFIG_OPTIONS", "api_server.ssl.enabled=true")
    words = command("127.0.0.1", 4000, Settings(timeout=7.5, workers=3))
    assert words[:5] == [sys.executable, "-m", "bentoml", "serve", TARGET]
    assert words[words.index("--port") + 1] == "4000"
    assert words[words.index("--timeout-graceful-shutdown") + 1] == "8"


def test_a_server_has_a_home_of_its_own_over_the_store_s_models(monkeypatch, tmp_path):
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "store"))
    first, second = (tmp_path / name for name in ("one", "two"))
    for folder in (first, second):
        folder.mkdir()
        (private_home(folder) / "models" / f"of {folder.name}").touch()
    assert {path.name for path in (tmp_path / "store" / "models").iterdir()} == {"of one", "of two"}


def test_a_server_keeps_its_plans_where_it_was_started(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENTOML_HOME", "store")
    monkeypatch.setenv("CATSEYE_HOME", "kept")
    environment = environment_of(tmp_path, Settings())
    assert Path(environment["CATSEYE_HOME"]) == tmp_path / "kept"
    assert (Path(environment["BENTOML_HOME"]) / "models").resolve() == tmp_path / "store" / "models"
    assert Path(environment["PROMETHEUS_MULTIPROC_DIR"]).is_dir()


@pytest.fixture
def child():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


def test_sigterm_turns_unready_first_then_closed_then_ends(child, tmp_path):
    drain = Drain(tmp_path / "drain")
    ending = _Exit(drain, seconds=0.3)
    ending.attach(child)
    ending.begin(signal.SIGTERM, None)
    assert ending.asked
    assert drain.draining()
    assert not drain.closed()
    assert child.poll() is None
    assert child.wait(30) == -signal.SIGTERM
    assert drain.closed()


def test_a_second_signal_ends_at_once(child, tmp_path):
    ending = _Exit(Drain(tmp_path / "drain"), seconds=600)
    ending.attach(child)
    ending.begin(signal.SIGTERM, None)
    time.sleep(0.05)
    assert child.poll() is None
    ending.begin(signal.SIGTERM, None)
    assert child.wait(30) == -signal.SIGTERM


def test_a_signal_before_the_server_runs_ends_it_when_it_does(child, tmp_path):
    ending = _Exit(Drain(tmp_path / "drain"), seconds=600)
    ending.begin(signal.SIGTERM, None)
    ending.attach(child)
    assert child.wait(30) == -signal.SIGTERM
