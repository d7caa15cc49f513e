"""What must stand in the environment before TensorFlow is imported, for it reads it only then."""

import importlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
_REMARK = re.compile(rb"WARNING: All log messages before absl|I\d{4} ")


def before_tensorflow() -> None:
    """Have TensorFlow compute with oneDNN and keep its remarks to itself; a user's own settings stay.

    TensorFlow turns oneDNN on by itself only where the processor has instructions for networks (AVX512 VNNI, AMX).
    Measured with AVX2 alone, on two cores, at 224 pixels (TensorFlow 2.21): a step of training takes 18.5 instead of
    40.3 ms an image with the top of MobileNetV2 trained, 224 instead of 418 with all of ResNet50; an image served
    takes 13.0 instead of 16.6 ms of processor time.
    """
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ.setdefault(_LEVEL, "3")


def import_tensorflow() -> None:
    """Import TensorFlow as ``before_tensorflow`` sets it, without the remarks that it makes before it reads that.

    For commands only: what other threads write to standard error meanwhile comes late, and is lost if the process dies.
    Since 2.17 TensorFlow tells of processor and drivers whatever is set (tensorflow/tensorflow#79029).
    """
    before_tensorflow()
    with remarks_dropped():
        importlib.import_module("tensorflow")


@contextmanager
def remarks_dropped() -> Iterator[None]:
    """Drop remarks of TensorFlow's C++ part; all else on standard error follows when the block ends."""
    if os.environ.get(_LEVEL) == "0" or sys.stderr is None:
        yield  # Somebody wants to read them, or nobody can.
        return
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as told:
        os.dup2(told.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            told.seek(0)
            for line in told:
                if not _REMARK.match(line):
                    os.write(2, line)
