"""Libraries that report to their maker unless told not to: here they are told."""

import contextlib
import importlib
import os
import threading
from collections.abc import Iterator
from typing import Any

_lock = threading.RLock()


def load_openvino() -> Any:
    """The module ``openvino``, whose mere import sends an event and leaves a visitor's number in the home folder.

    Import it through this function everywhere; the first import decides for the whole process.
    """
    with no_telemetry():
        return importlib.import_module("openvino")


def load_ray() -> Any:
    """The module ``ray``, which else sends what a cluster is made of to its maker every hour.

    Ray's other processes take the setting from this one, so it stays.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    return importlib.import_module("ray")


@contextlib.contextmanager
def no_telemetry() -> Iterator[None]:
    """Let OpenVINO, its converter and NNCF believe that they run in CI, the one place where they keep still."""
    with _lock:
        before = os.environ.get("CI")
        os.environ["CI"] = "true"
        try:
            yield
        finally:
            if before is None:
                del os.environ["CI"]
            else:
                os.environ["CI"] = before
