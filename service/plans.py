"""How to run a network fastest on this machine: streams, threads and batch, measured and kept.

The best plan is another for each network and processor, so it is measured, by ``catseye tune`` at leisure or
by the service briefly at its first start, and kept under ``CATSEYE_HOME`` for the next one. A new version of
the same network runs under the same plan.
"""

import ctypes
import hashlib
import logging
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.card import Card
from models.files import write_whole
from models.image import decode
from models.runtime import Runtime, open_runtime
from models.staging import exclusive
from models.store import StoredModel
from service.batching import Batcher
from service.settings import Settings

logger = logging.getLogger("catseye")

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
NEARLY: Final = 0.95
"""Of plans that reach this share of the best one's images a second, the one with the lowest latency is taken."""


class Plan(BaseModel):
    """One way to run a network, and, where it was measured, what it gave."""

    model_config = ConfigDict(frozen=True)

    streams: int = Field(ge=1, le=256)
    threads: int = Field(ge=1, le=256)
    batch: int = Field(ge=1, le=256)
    images_per_second: float = 0.0
    p50_ms: float = 0.0


@dataclass(frozen=True)
class Machine:
    """What a plan holds for, besides the network."""

    processor: str
    processors: int


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share(settings: Settings) -> int:
    """How many processors each of the worker processes may count on."""
    return max(1, processors() // settings.workers)


@cache
def this_machine() -> Machine:
    """The processor's name and how many of it there are."""
    name = platform.processor() or platform.machine()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    return Machine(name, processors())


def usual(settings: Settings) -> Plan:
    """The plan where nothing was measured, with what the operator has set."""
    tensorflow = settings.runtime == "tensorflow"
    count = share(settings)
    return Plan(
        streams=settings.streams or count,
        threads=settings.threads or 2 * count,
        batch=settings.batch or (8 if tensorflow else 1),
    )


def plan_path(card: Card, settings: Settings) -> Path:
    """Where the plan of such a network on this machine is kept."""
    machine = this_machine()
    precision = settings.precision or card.served_precision
    hardware = (machine.processor, machine.processors, settings.workers)
    words = (*hardware, settings.runtime, precision, card.backbone, card.input_size)
    digest = hashlib.sha256(repr(words).encode()).hexdigest()[:16]
    return settings.home / "plans" / f"{card.backbone}-{digest}.json"


def find_plan(card: Card, settings: Settings) -> Plan | None:
    """The plan that was measured and kept, with what the operator has set instead; ``None`` without one."""
    try:
        kept = Plan.model_validate_json(plan_path(card, settings).read_bytes())
    except (OSError, ValidationError):
        return None
    set_ = {"streams": settings.streams, "threads": settings.threads, "batch": settings.batch}
    return kept.model_copy(update={key: value for key, value in set_.items() if value is not None})


def keep_plan(card: Card, settings: Settings, plan: Plan) -> None:
    """Keep a plan for the next start; where that cannot be written, it is measured again."""
    path = plan_path(card, settings)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, plan.model_dump_json(indent=2).encode())
    except OSError as error:
        logger.warning("the plan cannot be kept in %s: %s", path.parent, error.strerror)


def plan_for(stored: StoredModel, settings: Settings, seconds: float) -> Plan:
    """The kept plan; else one that is measured within about so many seconds and kept; without time, the usual one."""
    found = find_plan(stored.card, settings)
    if found is not None or seconds <= 0:
        return found or usual(settings)
    with _alone(settings.home):
        found = find_plan(stored.card, settings)
        if found is None:
            plans = candidates(settings, brief=True)
            found = best(list(measure(stored, settings, plans, seconds / len(plans))))
            keep_plan(stored.card, settings, found)
    logger.info("plan for %s: %s", stored.tag, found)
    return found


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Of several workers one measures, and the others wait and find its plan; all do where nothing can be kept."""
    with ExitStack() as stack:
        with suppress(OSError):
            stack.enter_context(exclusive(home))
        yield


def candidates(settings: Settings, *, brief: bool) -> list[Plan]:
    """The plans worth measuring, those that share a compiled network side by side."""
    count = share(settings)
    streams = [settings.streams] if settings.streams else sorted({1, count} if brief else {1, count, 2 * count})
    threads = [settings.threads] if settings.threads else [2 * count] if brief else [count, 2 * count, 4 * count]
    batches = [settings.batch] if settings.batch else [1, 8] if brief else [1, 4, 8, 16]
    if settings.runtime == "tensorflow":
        streams = [1]
    plans: list[Plan] = []
    for stream in streams:
        for batch in batches:
            # Batches fill only where more threads bring images than one batch takes.
            wanted = threads if batch == 1 else [max(2 * batch, threads[-1])]
            plans.extend(Plan(streams=stream, threads=number, batch=batch) for number in wanted)
    return plans


def measure(stored: StoredModel, settings: Settings, plans: Sequence[Plan], seconds: float) -> Iterator[Plan]:
    """Each plan with its figures, decoding a photograph of 640x480 and running the network for so long."""
    photograph = _photograph()
    runtime: Runtime | None = None
    streams = 0
    try:
        for plan in plans:
            if runtime is None or plan.streams != streams:
                if runtime is not None:
                    runtime.close()
                runtime, streams = open_for(stored, settings, plan), plan.streams
            yield _measured(runtime, stored.card, photograph, plan, seconds)
    finally:
        if runtime is not None:
            runtime.close()


def open_for(stored: StoredModel, settings: Settings, plan: Plan) -> Runtime:
    """The network, loaded as a plan says."""
    tensorflow = settings.runtime == "tensorflow"
    if tensorflow:
        _keep_freed_memory()
    return open_runtime(
        stored,
        settings.runtime,
        precision=None if tensorflow else settings.precision,
        streams=None if tensorflow else plan.streams,
    )


def _keep_freed_memory() -> None:
    """Have glibc keep what TensorFlow frees, tens of megabytes a layer, instead of giving it back and fetching it anew.

    With the usual thresholds the kernel took 17 to 20 of the 48 to 56 ms of processor time that an image of a
    batch of 8 cost (MobileNetV2 at 224 px); with these it takes 5 of 31 to 38.
    """
    with suppress(OSError, AttributeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in ((_M_TRIM_THRESHOLD, 2**30), (_M_MMAP_THRESHOLD, 2**25)):
            mallopt(parameter, value)


def best(measured: Sequence[Plan]) -> Plan:
    """The plan with the lowest latency among those that are nearly the fastest."""
    top = max(plan.images_per_second for plan in measured)
    return min((plan for plan in measured if plan.images_per_second >= NEARLY * top), key=lambda plan: plan.p50_ms)


def _measured(runtime: Runtime, card: Card, photograph: bytes, plan: Plan, seconds: float) -> Plan:
    run: Callable[[], object]
    if plan.batch == 1:

        def run() -> object:
            return runtime.run(decode(photograph, card.input_size)[None])
    else:
        runs = 1 if runtime.name == "tensorflow" else plan.streams
        batcher = Batcher(runtime.run, most=plan.batch, runs=runs)

        def run() -> object:
            return batcher.run(decode(photograph, card.input_size), ("logits",))

    run()
    times = _times(run, plan.threads, seconds)
    taken = sum(times) / plan.threads
    return plan.model_copy(
        update={
            "images_per_second": round(len(times) / max(taken, 1e-9), 1),
            "p50_ms": round(median(times) * 1e3, 2),
        }
    )


def _times(run: Callable[[], object], threads: int, seconds: float) -> list[float]:
    """Seconds of each run, of so many threads that run it again and again, once at least."""
    until = time.perf_counter() + seconds
    times: list[float] = []

    def again() -> None:
        now = time.perf_counter()
        while True:
            run()
            began, now = now, time.perf_counter()
            times.append(now - began)
            if now >= until:
                return

    workers = [threading.Thread(target=again) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return times


@cache
def _photograph() -> bytes:
    """A JPEG of 640x480 with about as much detail as a photograph of that size has."""
    random = np.random.default_rng(0)
    coarse = Image.fromarray(random.integers(0, 256, (60, 80, 3), np.uint8)).resize(
        (640, 480), Image.Resampling.BICUBIC
    )
    grain = random.normal(0, 6, (480, 640, 3))
    out = BytesIO()
    Image.fromarray((np.asarray(coarse) + grain).clip(0, 255).astype(np.uint8)).save(out, "JPEG", quality=88)
    return out.getvalue()
