"""Spans leave by BentoML's own setting and arrive at a collector that speaks OpenTelemetry's protocol."""

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.images import png
from tests.support.networks import fill_store
from tests.support.servers import serving
from tests.support.waiting import wait_for

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GIVEN = {"traceparent": f"00-{TRACE}-{PARENT}-01"}


@pytest.fixture
def collector() -> Iterator[tuple[str, list[ExportTraceServiceRequest]]]:
    """The address of a collector, and what it was sent: parsed with the protocol's own messages."""
    received: list[ExportTraceServiceRequest] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            received.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1/traces", received
    server.shutdown()
    server.server_close()


def spans_of(received: list[ExportTraceServiceRequest]) -> list[tuple[str, str, str, str]]:
    """(trace, parent, own id, name) of every span of the trace."""
    return [
        (span.trace_id.hex(), span.parent_span_id.hex(), span.span_id.hex(), span.name)
        for request in received
        for of_resource in request.resource_spans
        for of_scope in of_resource.scope_spans
        for span in of_scope.spans
        if span.trace_id.hex() == TRACE
    ]


@pytest.mark.long
def test_a_request_s_span_reaches_the_collector_under_the_client_s_trace(
    tmp_path: Path, collector: tuple[str, list[ExportTraceServiceRequest]]
) -> None:
    endpoint, received = collector
    fill_store(tmp_path / "bentoml")
    # BentoML reads a service's own part of its configuration; the part for all is overridden by that one's defaults.
    values = {"exporter_type": "otlp", "sample_rate": "1.0", "otlp.protocol": "http", "otlp.endpoint": endpoint}
    options = " ".join(f"services.catseye.tracing.{key}={value}" for key, value in values.items())
    with serving(tmp_path / "bentoml", BENTOML_CONFIG_OPTIONS=options) as server:
        reply = httpx.post(f"{server.url}/v1/classify", content=png(40, 40), headers=GIVEN)
        assert reply.status_code == 200
        wait_for("the span", lambda: bool(spans_of(received)), 30)
    spans = spans_of(received)
    version, trace, own, flags = reply.headers["traceparent"].split("-")
    assert (version, trace, flags) == ("00", TRACE, "01")
    assert own in {span[2] for span in spans}
    assert PARENT in {span[1] for span in spans}
    assert server.logged(reply.headers["x-request-id"])[0]["trace_id"] == TRACE


def test_without_tracing_the_client_s_trace_is_in_the_log_and_the_answer(server) -> None:
    reply = httpx.post(f"{server.url}/v1/classify", content=png(40, 40), headers=GIVEN)
    assert reply.headers["traceparent"] == GIVEN["traceparent"]
    assert server.logged(reply.headers["x-request-id"])[0]["trace_id"] == TRACE
    for wrong in ("00-" + "0" * 32 + f"-{PARENT}-01", "nonsense"):
        reply = httpx.get(f"{server.url}/v1/models", headers={"traceparent": wrong})
        assert "traceparent" not in reply.headers
