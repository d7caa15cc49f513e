"""What is kept of an answered request: its metrics, and a line of the access log."""

import logging
import time
from typing import Final

import orjson
from starlette.types import Scope

from service.asgi.context import RequestState
from service.metrics import REQUESTS

BENTOML_PATHS: Final = frozenset({"/livez", "/readyz", "/healthz"})
"""Answered by BentoML."""
PROBES: Final = BENTOML_PATHS | {"/metrics"}
_METHODS: Final = frozenset({"GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"})
_NO_MODEL: Final = ("", "", "")

log = logging.getLogger("catseye.access")


class AccessRecord:
    """One request and its reply in figures."""

    def __init__(self, scope: Scope, state: RequestState, method: str) -> None:
        self._scope, self._state = scope, state
        self._method = method if method in _METHODS else "other"
        self._began = time.perf_counter()
        self.status = 500
        self.bytes_in = self.bytes_out = 0

    def write(self, *, log_line: bool) -> None:
        """Observe the request's duration and, unless it is a probe, log it as a line of JSON if asked to."""
        path = self._scope["path"]
        route = path if path in PROBES else getattr(self._scope.get("route"), "path", None) or "unknown"
        model, version, variant = self._state.get("model", _NO_MODEL)
        seconds = time.perf_counter() - self._began
        REQUESTS.labels(route, self._method, str(self.status), model, version, variant).observe(seconds)
        if not log_line or path in PROBES:
            return
        trace = self._state["traceparent"]
        line = {
            "time": round(time.time(), 3),
            "request_id": self._state["request_id"],
            "trace_id": trace.split("-")[1] if trace else None,
            "method": self._method,
            "route": route,
            "status": self.status,
            "model": model,
            "version": version,
            "variant": variant,
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "ms": round(seconds * 1e3, 2),
            "timing_ms": self._state.get("timing_ms"),
        }
        log.info("%s", orjson.dumps(line).decode())
