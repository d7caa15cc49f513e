"""How to run a network on this machine: streams, threads, batch size and wait, kept under ``CATSEYE_HOME``.

The best plan depends on the network and the processor, so it is measured (``service.inference.tuning``) and kept for
the next start. A new version of the same network uses the same plan.
"""

import ctypes
import hashlib
import logging
import os
import platform
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.card import Card
from models.files import write_whole
from models.runtime.base import Runtime
from models.runtime.open import open_runtime
from models.store.store import StoredModel
from service.settings import Settings

logger = logging.getLogger("catseye")

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
DEFAULT_WAIT_MS: Final = 2.0


class Plan(BaseModel):
    """One way to run a network, with its measured figures (0 where it was not measured)."""

    model_config = ConfigDict(frozen=True)

    streams: int = Field(ge=1, le=256)
    threads: int = Field(ge=1, le=256)
    batch: int = Field(ge=1, le=256)
    wait_ms: float = Field(default=DEFAULT_WAIT_MS, ge=0, le=1000)
    """Longest time that a batch which is not full waits for images that are being decoded."""
    images_per_second: float = 0.0
    p50_ms: float = 0.0
    provisional: bool = False
    """Measured while other programs kept the processors busy, so the next start measures again."""


@dataclass(frozen=True)
class Machine:
    """The hardware that a plan holds for."""

    processor: str
    processors: int


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share(settings: Settings) -> int:
    """Processors for each worker process."""
    return max(1, processors() // settings.workers)


@cache
def this_machine() -> Machine:
    """The processor's name and how many of it there are."""
    name = platform.processor() or platform.machine()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    return Machine(name, processors())


def default_plan(settings: Settings) -> Plan:
    """The plan where nothing was measured, with the operator's settings."""
    tensorflow = settings.runtime == "tensorflow"
    count = share(settings)
    return Plan(
        streams=settings.streams or count,
        threads=settings.threads or 2 * count,
        batch=settings.batch or (4 if tensorflow else 1),
        wait_ms=DEFAULT_WAIT_MS if settings.batch_wait_ms is None else settings.batch_wait_ms,
    )


def plan_path(card: Card, settings: Settings) -> Path:
    """The file of the plan of such a network on this machine."""
    machine = this_machine()
    precision = settings.precision or card.served_precision
    hardware = (machine.processor, machine.processors, settings.workers)
    words = (*hardware, settings.runtime, precision, card.backbone, card.input_size)
    digest = hashlib.sha256(repr(words).encode()).hexdigest()[:16]
    return settings.home / "plans" / f"{card.backbone}-{digest}.json"


def find_plan(card: Card, settings: Settings) -> Plan | None:
    """The plan that was measured and kept, with the operator's settings in place of its values; ``None`` if none."""
    try:
        kept = Plan.model_validate_json(plan_path(card, settings).read_bytes())
    except (OSError, ValidationError):
        return None
    chosen = {name: getattr(settings, name) for name in ("streams", "threads", "batch")}
    chosen["wait_ms"] = settings.batch_wait_ms
    return kept.model_copy(update={name: value for name, value in chosen.items() if value is not None})


def keep_plan(card: Card, settings: Settings, plan: Plan) -> None:
    """Keep a plan for the next start, which measures again if the plan cannot be written."""
    path = plan_path(card, settings)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, plan.model_dump_json(indent=2).encode())
    except OSError as error:
        logger.warning("the plan cannot be kept in %s: %s", path.parent, error.strerror)


def open_for(stored: StoredModel, settings: Settings, plan: Plan, cores: int | None = None) -> Runtime:
    """The network, loaded as a plan says, or to run in so many processor cores, one for each stream.

    TensorFlow has no streams: there they are the runs at once, between which the cores are divided. Two runs of two
    threads each compete: 91 images per second, where one thread each gives 144 (MobileNetV2 at 224 px, two cores).
    """
    tensorflow = settings.runtime == "tensorflow"
    if tensorflow:
        _keep_freed_memory()
        cores = cores or max(1, share(settings) // plan.streams)
    return open_runtime(
        stored,
        settings.runtime,
        precision=None if tensorflow else settings.precision,
        streams=None if tensorflow else cores or plan.streams,
        threads=cores,
    )


def _keep_freed_memory() -> None:
    """Raise glibc's thresholds, so that it keeps the tens of megabytes that TensorFlow frees at each layer.

    With the defaults the kernel took 17 to 20 of the 48 to 56 ms of processor time of an image in a batch of 8
    (MobileNetV2 at 224 px); with these it takes 5 of 31 to 38.
    """
    with suppress(OSError, AttributeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in ((_M_TRIM_THRESHOLD, 2**30), (_M_MMAP_THRESHOLD, 2**25)):
            mallopt(parameter, value)
