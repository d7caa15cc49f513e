"""Imports TensorFlow, OpenVINO and Ray with their settings: oneDNN on, log noise off, telemetry off."""

import importlib
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
_INFO = re.compile(rb"WARNING: All log messages before absl|I\d{4} ")
_lock = threading.RLock()


def before_tensorflow() -> None:
    """Have TensorFlow compute with oneDNN and log only errors; variables that a user has set stay.

    TensorFlow turns oneDNN on by itself only where the processor has instructions for networks (AVX512 VNNI, AMX).
    Measured with AVX2 alone, on two cores, at 224 pixels (TensorFlow 2.21): a training step takes 18.5 instead of
    40.3 ms an image with the top of MobileNetV2 trained, 224 instead of 418 with all of ResNet50; an image served
    takes 13.0 instead of 16.6 ms of processor time.
    """
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ.setdefault(_LEVEL, "3")


def import_tensorflow() -> None:
    """Import TensorFlow as ``before_tensorflow`` sets it, without the lines that it logs before it reads its settings.

    For commands only: what other threads write to standard error meanwhile comes late, and is lost if the process dies.
    Since 2.17 TensorFlow logs processor and drivers whatever is set (tensorflow/tensorflow#79029).
    """
    before_tensorflow()
    with info_log_dropped():
        importlib.import_module("tensorflow")


@contextmanager
def info_log_dropped() -> Iterator[None]:
    """Drop information that TensorFlow's C++ part logs; all else on standard error follows when the block ends."""
    if os.environ.get(_LEVEL) == "0" or sys.stderr is None:
        yield
        return
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as captured:
        os.dup2(captured.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            captured.seek(0)
            for line in captured:
                if not _INFO.match(line):
                    os.write(2, line)


def load_openvino() -> Any:
    """The module ``openvino``, imported without telemetry: its import sends an event and writes an identifier to HOME.

    Import it through this function everywhere, since the first import decides for the whole process.
    """
    with no_telemetry():
        return importlib.import_module("openvino")


def load_ray() -> Any:
    """The module ``ray``, with its usage statistics turned off.

    The variable stays set, since Ray's other processes inherit it.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    return importlib.import_module("ray")


@cache
def has_bfloat16() -> bool:
    """Whether this processor computes in bfloat16, according to OpenVINO."""
    return "BF16" in load_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@contextmanager
def no_telemetry() -> Iterator[None]:
    """Set CI=true for the block: OpenVINO, its converter and NNCF send no telemetry there and have no other switch."""
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
