"""Prometheus metrics, summed over all workers, which share them through files in ``PROMETHEUS_MULTIPROC_DIR``.

No label takes a value from a request as it came: routes are templates, models are the served ones, labels are a card's.
"""

import os
import platform
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from service.compatibility import make_metric_files_long

__all__ = ["CONTENT_TYPE_LATEST"]

make_metric_files_long()  # before there is a metric

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
_COUNTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)

REQUESTS = Histogram(
    "catseye_request_duration_seconds",
    "Whole requests, from the first byte of the head to the last of the reply.",
    ("route", "method", "status", "model", "version", "variant"),
    buckets=_SECONDS,
)
STAGES = Histogram(
    "catseye_stage_duration_seconds",
    "Parts of a request: receive, decode, queue, batch_wait, inference, respond.",
    ("stage", "model", "variant"),
    buckets=_SECONDS,
)
BATCH_SIZE = Histogram(
    "catseye_batch_size", "Images in one run of a network.", ("model", "variant", "reason"), buckets=_COUNTS
)
CACHE_LOOKUPS = Counter("catseye_cache_lookups_total", "Images looked for in the response cache.", ("result",))
CACHE_BYTES = Gauge("catseye_cache_bytes", "Size of the response cache.", multiprocess_mode="livesum")
IN_FLIGHT = Gauge("catseye_requests_in_flight", "Requests being answered.", multiprocess_mode="livesum")
QUEUE_DEPTH = Gauge("catseye_queue_depth", "Images waiting for a network.", ("model",), multiprocess_mode="livesum")
REFUSED = Counter("catseye_refused_total", "Requests that got an error, by its code.", ("code",))
DOWNGRADED = Counter(
    "catseye_downgraded_total", "Requests answered by the fast variant because of overload.", ("model",)
)
PREDICTIONS = Counter(
    "catseye_predictions_total", "Images by the label on top.", ("model", "version", "variant", "label")
)
CONFIDENCE = Histogram(
    "catseye_prediction_confidence", "Probability of the label on top.", ("model", "variant"), buckets=_SHARES
)
MODEL_INFO = Gauge(
    "catseye_model_info",
    "1 for each model that is served.",
    ("model", "version", "variant", "backbone", "precision", "runtime"),
    multiprocess_mode="livemax",
)
MODELS_READY = Gauge(
    "catseye_models_ready",
    "Models that take work, in the worker with the fewest.",
    multiprocess_mode="livemin",
)
LOAD_FAILURES = Counter(
    "catseye_model_load_failures_total", "Versions that were refused because they are broken.", ("model",)
)
LOAD_BROKEN = Gauge(
    "catseye_model_broken",
    "1 while the newest version of a model is broken and an older one serves.",
    ("model",),
    multiprocess_mode="livemax",
)
WORKER_STARTS = Counter("catseye_worker_starts_total", "Worker processes that have started.")
WORKER_RESTARTS = Counter("catseye_worker_restarts_total", "Those of them that took the place of one that had ended.")
BUILD_INFO = Gauge(
    "catseye_build_info",
    "1, with the versions.",
    ("version", "python", "bentoml"),
    multiprocess_mode="livemax",
)
DRIFT = Gauge(
    "catseye_drift_psi",
    "Population stability index of recent predictions against the held-out images.",
    ("model", "kind"),
    multiprocess_mode="livemax",
)


def count_worker(workers: int) -> None:
    """Once in each worker, when it starts; ``workers`` is how many a server has."""
    forget_dead_workers()
    WORKER_STARTS.inc()
    # The starts of a whole server are no alarm, however many workers it has.
    if (_of_all_workers().get_sample_value("catseye_worker_starts_total") or 0) > workers:
        WORKER_RESTARTS.inc()
    BUILD_INFO.labels(version("catseye"), platform.python_version(), version("bentoml")).set(1)


def exposition() -> bytes:
    """The text that Prometheus reads, over all workers."""
    forget_dead_workers()
    return generate_latest(_of_all_workers())


def _of_all_workers() -> CollectorRegistry:
    """What all workers have counted; this process alone where it is no worker of a server's."""
    if not (folder := os.environ.get("PROMETHEUS_MULTIPROC_DIR")):
        return REGISTRY
    registry = CollectorRegistry()
    registry.register(_Files(Path(folder)))
    return registry


class _Files(Collector):
    """All files of a folder, merged. (The library's collector takes its path for a pattern, brackets and all.)"""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        """What the workers have counted, as one."""
        files = [str(path) for path in self._folder.glob("*.db")]
        return MultiProcessCollector.merge(files, accumulate=True)  # type: ignore[no-untyped-call,no-any-return]


def forget_dead_workers() -> None:
    """Take gauges of processes that have ended out of the sums, as the library's ``mark_process_dead`` would."""
    for path in Path(os.environ.get("PROMETHEUS_MULTIPROC_DIR") or os.devnull).glob("gauge_live*.db"):
        pid = path.stem.rpartition("_")[2]
        if pid.isdigit() and not _alive(int(pid)):
            path.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
