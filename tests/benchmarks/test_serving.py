"""The bench itself: what it counts, what it concludes, and that its table adds up. It is run by ``make bench``."""

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image

from benchmarks.serving import chart, profile, report, rows
from benchmarks.serving.contestants import contestants
from benchmarks.serving.load import Load, paced
from benchmarks.serving.photographs import SIZES, as_multipart, write_photographs
from benchmarks.serving.rows import LIMIT, Row


class Half(BaseHTTPRequestHandler):
    """Answers every second request 503."""

    protocol_version = "HTTP/1.1"
    seen = 0

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        Half.seen += 1
        self.send_response(200 if Half.seen % 2 else 503)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Half)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def turn(
    contestant: str, network: str, rate: float, connections: int = 16, photograph: str = "640x480", **more: object
) -> Row:
    return Row(
        "turn", contestant, network, photograph=photograph, connections=connections, rate=rate, p50=1000 / rate, **more
    )


ROWS = [
    turn(LIMIT, "int8", 100),
    turn(LIMIT, "int8", 50, 1),
    turn("catseye", "int8", 90),
    turn("catseye", "int8", 92),
    turn("catseye", "int8", 94),
    turn("catseye", "int8", 40, 1),
    turn("catseye", "keras", 30),
    turn("slow", "keras", 10),
    turn("quick", "keras", 20),
    turn("quick", "int8", 46, errors=3),
    Row("start", "catseye", "int8", seconds=2.5),
]


def test_wrong_answers_count_as_errors_and_not_as_speed(port, tmp_path):
    body = tmp_path / "body"
    body.write_bytes(b"x" * 1000)
    began = time.perf_counter()
    outcome = paced(Load(port, "/", body, "image/jpeg"), 40, 1, connections=4)
    took = time.perf_counter() - began
    assert outcome.errors == 20
    assert outcome.rate == pytest.approx(20 / took, rel=0.2)
    assert 0 < outcome.p50 <= outcome.p99


def test_ratios_take_medians_and_the_best_peer():
    found = {what: measured for what, measured, _, _ in report.ratios(ROWS)}
    assert found["16 connections, 640x480, beside the best Keras peer (quick)"] == pytest.approx(92 / 20)
    assert found["16 connections, 640x480, beside the best int8 peer (quick)"] == pytest.approx(2)
    assert found["16 connections, 640x480, beside the in-process limit"] == pytest.approx(0.92)
    assert found["one connection, p50 beside decode and inference in one thread"] == pytest.approx(1.25)
    assert found["TensorFlow runtime, 16 connections, beside the best Keras peer (quick)"] == pytest.approx(1.5)
    assert "64 connections beside 16" not in found


def test_the_report_says_what_was_met_and_counts_errors(tmp_path):
    text = report.report(ROWS, "a machine")
    assert "at least 5: **missed**" in text
    assert "at least 2: met" in text
    line = next(line for line in text.splitlines() if line.startswith("| quick, int8"))
    assert line.endswith("| 3 |")


def test_rows_survive_their_file_and_are_drawn(tmp_path):
    rows.write_rows(ROWS, tmp_path / "rows.csv", "a machine")
    assert rows.read_rows(tmp_path / "rows.csv") == (ROWS, "a machine")
    chart.draw(ROWS, "a machine", tmp_path / "chart.png")
    with Image.open(tmp_path / "chart.png") as picture:
        assert picture.width > 600
        assert len(picture.convert("RGB").getcolors(1 << 24)) > 20


def test_the_stages_add_up_to_what_the_client_sees():
    lines = [
        {"ms": 8.0, "timing_ms": {"receive": 0.5, "queue": 0.1, "decode": 2.0, "inference": 4.0, "total": 7.0}},
        {"ms": 10.0, "timing_ms": {"receive": 0.5, "queue": 0.1, "decode": 2.0, "inference": 6.0, "total": 9.0}},
    ]
    found = profile.profile(lines, 10.0)
    *parts, whole = found.values()
    assert whole == 10_000
    assert sum(parts) == pytest.approx(whole)
    assert min(parts) >= 0
    assert profile.table({1: found}).count("\n") == len(found) + 1


def test_photographs_have_their_sizes_and_a_form_carries_them(tmp_path):
    files = write_photographs(tmp_path)
    for name, size in SIZES.items():
        with Image.open(files[name]) as image:
            assert image.size == size
    body, kind = as_multipart(files["640x480"], "image")
    assert files["640x480"].read_bytes() in body.read_bytes()
    assert kind.partition("boundary=")[2].encode() in body.read_bytes()


def test_each_peer_serves_keras_and_int8_with_settings_to_choose_from():
    peers = [each for each in contestants() if not each.ours]
    assert {each.network for each in peers} == {"keras", "int8"}
    assert len({each.name for each in peers}) == len(peers) / 2 == 4
    assert all(len(each.tries) > 2 for each in peers)
