"""Measures how a network runs fastest on this machine: thoroughly by ``catseye tune``, briefly at a first start.

The plans are measured interleaved, in several rounds, so that a moment in which other programs need the processors does
not fall on one plan alone. If others needed them all the time, the result is provisional: it is used, and the next
start measures again.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from io import BytesIO
from itertools import product
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np
from PIL import Image

from models.image.decode import decode
from models.runtime.base import Runtime
from models.store.staging import exclusive
from models.store.store import StoredModel
from service.inference.batcher import Batcher
from service.inference.execution_plan import Plan, default_plan, find_plan, keep_plan, open_for, processors, share
from service.settings import Settings

logger = logging.getLogger("catseye")

NEARLY: Final = 0.75
"""The smallest batch is chosen whose throughput reaches this share of the best plan's. Batches cost every request
latency and memory, and gain more when measured in threads than over HTTP, where they are less full: batches of 16
measured 1.33 times the throughput of single images, and served 181 images per second beside 188 (int8, two cores)."""
CALLERS: Final = 8
"""Most concurrent callers for each processor, for every plan. With more, plans of large batches look better than they
are under usual load: with 32 callers, batches of 16 measured 1.33 times the throughput of single images, and served
201 images per second beside 327 at 16 connections (int8, two cores)."""
ROUNDS: Final = 3
BUSY: Final = 0.2
"""Share of the processors' time used by other programs above which a measurement is provisional."""


def plan_for(stored: StoredModel, settings: Settings, seconds: float) -> Plan:
    """The plan on disk; else one measured in about so many seconds and kept; with 0 seconds the default plan."""
    found = find_plan(stored.card, settings)
    if seconds <= 0 or (found is not None and not found.provisional):
        return found or default_plan(settings)
    with _alone(settings.home):
        again = find_plan(stored.card, settings)
        if again is not None and (again != found or not again.provisional):
            found = again  # another worker has just measured
        else:
            plans = candidates(settings, brief=True)
            found = best(measure(stored, settings, plans, seconds / len(plans)))
            keep_plan(stored.card, settings, found)
    logger.info("plan for %s: %s", stored.tag, found)
    return found


def candidates(settings: Settings, *, brief: bool) -> list[Plan]:
    """The plans worth measuring; what the operator has set is the same in all of them."""
    count, tensorflow = share(settings), settings.runtime == "tensorflow"
    # TensorFlow's threads are divided between its runs when it starts, so their number cannot be varied.
    streams = [count] if tensorflow else sorted({1, count})
    threads = [2 * count] if brief else [count, 2 * count, 4 * count]
    batches = [1, 8] if brief else [1, 4, 8, 16]
    waits = [default_plan(settings).wait_ms] if brief or settings.batch_wait_ms is not None else [0.0, 2.0, 5.0]
    plans: list[Plan] = []
    for stream, batch in product(_set_or(settings.streams, streams), _set_or(settings.batch, batches)):
        if batch == 1:
            for number in _set_or(settings.threads, threads):
                plans.append(Plan(streams=stream, threads=number, batch=1, wait_ms=waits[0]))
        else:  # batches fill only where more threads bring images than one batch takes
            number = max(2 * batch, settings.threads or threads[-1])
            plans += [Plan(streams=stream, threads=number, batch=batch, wait_ms=wait) for wait in waits]
    return plans


def measure(
    stored: StoredModel,
    settings: Settings,
    plans: Sequence[Plan],
    seconds: float,
    progress: Callable[[], object] = lambda: None,
) -> list[Plan]:
    """Each plan with its figures: a photograph of 640x480 is decoded and run again and again for so many seconds.

    The time is spread over ``ROUNDS``, and ``progress`` is called after each plan of each round. Images per second are
    the median of the rounds.
    """
    photograph = _photograph()
    runtimes: dict[int, Runtime] = {}
    rates: list[list[float]] = [[] for _ in plans]
    times: list[list[float]] = [[] for _ in plans]
    try:
        for plan in plans:
            if plan.streams not in runtimes:
                runtimes[plan.streams] = open_for(stored, settings, plan)
        runs = [_work(runtimes[plan.streams], stored.card.input_size, photograph, plan) for plan in plans]
        busy = busy_by_others()
        for _ in range(ROUNDS):
            for number, plan in enumerate(plans):
                callers = min(plan.threads, CALLERS * share(settings))
                latencies = _times(runs[number], callers, seconds / ROUNDS)
                rates[number].append(len(latencies) * callers / max(sum(latencies), 1e-9))
                times[number] += latencies
                progress()
        provisional = busy() > BUSY
    finally:
        for runtime in runtimes.values():
            runtime.close()
    return [
        plan.model_copy(
            update={
                "images_per_second": round(median(rates[number]), 1),
                "p50_ms": round(median(times[number]) * 1e3, 2),
                "provisional": provisional,
            }
        )
        for number, plan in enumerate(plans)
    ]


def best(measured: Sequence[Plan]) -> Plan:
    """Of the plans that are nearly the fastest, the one with the smallest batch, then the fastest.

    Latencies are not compared: with so many callers they only say how many callers there are.
    """
    top = max(plan.images_per_second for plan in measured)
    nearly = [plan for plan in measured if plan.images_per_second >= NEARLY * top]
    return min(nearly, key=lambda plan: (plan.batch, -plan.images_per_second))


def _set_or(chosen: int | None, otherwise: list[int]) -> list[int]:
    return otherwise if chosen is None else [chosen]


def _work(runtime: Runtime, size: tuple[int, int], photograph: bytes, plan: Plan) -> Callable[[], object]:
    """What a thread does for one image, as ``service.inference.served_model`` does; it has been done once already."""
    batcher = Batcher(runtime.run, max_batch=plan.batch, wait=plan.wait_ms / 1e3, runs=plan.streams)

    def run() -> object:
        if plan.batch == 1:
            return runtime.run(decode(photograph, size)[None])
        return batcher.decode_and_run(lambda: decode(photograph, size), ("logits",))

    run()
    if plan.batch > 1:  # the runtime compiles this form when it is first asked for
        runtime.run(np.zeros((plan.batch, *size, 3), np.uint8))
    return run


def _times(run: Callable[[], object], callers: int, seconds: float) -> list[float]:
    """Seconds of each run, in so many threads that run it again and again, once at least."""
    until = time.perf_counter() + seconds

    def repeat(_: int) -> list[float]:
        times = []
        while True:
            began = time.perf_counter()
            run()
            times.append(time.perf_counter() - began)
            if time.perf_counter() >= until:
                return times

    with ThreadPoolExecutor(callers) as pool:
        return [seconds for times in pool.map(repeat, range(callers)) for seconds in times]


def busy_by_others() -> Callable[[], float]:
    """A function for the share of the processors' time that other programs used since; 0 where it is not known."""
    began, busy, own = time.perf_counter(), _busy_seconds(), time.process_time()

    def since() -> float:
        others = _busy_seconds() - busy - (time.process_time() - own)
        return others / max((time.perf_counter() - began) * processors(), 1e-9)

    return since


def _busy_seconds() -> float:
    """Processor seconds that the machine has spent on anything, other virtual machines included (Linux only)."""
    try:
        words = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    except OSError:
        return 0.0
    ticks = [int(word) for word in words[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) / 100  # without idle time; USER_HZ is 100 on Linux


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Only one of several workers measures; the others wait and find its plan. No lock where none can be written."""
    with ExitStack() as stack:
        with suppress(OSError):
            stack.enter_context(exclusive(home))
        yield


@cache
def _photograph() -> bytes:
    """A JPEG of 640x480 with about as much detail as a photograph of that size."""
    random = np.random.default_rng(0)
    coarse = Image.fromarray(random.integers(0, 256, (60, 80, 3), np.uint8)).resize((640, 480))
    noisy = np.asarray(coarse) + random.normal(0, 6, (480, 640, 3))
    out = BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(out, "JPEG", quality=88)
    return out.getvalue()
