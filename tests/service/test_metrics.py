import os
import subprocess
import sys

from service.metrics import exposition

CHILD = """
from service.metrics import IN_FLIGHT, WORKER_STARTS, count_worker
count_worker(2); IN_FLIGHT.inc(5)
"""
READER = "from service.metrics import exposition; print(exposition().decode())"


def run(code, folder):
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    ).stdout


def test_one_process_shows_its_own_figures():
    assert b"catseye_requests_in_flight" in exposition()


def test_counters_of_dead_workers_stay_and_their_gauges_go(tmp_path):
    run(CHILD, tmp_path)
    run(CHILD, tmp_path)
    text = run(READER, tmp_path)
    assert "catseye_worker_starts_total 2.0" in text
    assert "catseye_requests_in_flight 0" in text or "catseye_requests_in_flight" not in text
    assert "pid=" not in text


def test_only_workers_beyond_a_server_s_own_count_as_restarts(tmp_path):
    for restarts in (0, 0, 1, 2):
        run(CHILD, tmp_path)
        assert f"catseye_worker_restarts_total {restarts}.0" in run(READER, tmp_path)
