"""Measures how a network runs fastest on this machine: by ``catseye tune`` at leisure, briefly at a first start.

The plans take turns in several rounds, so that a moment in which others need the processors hurts none of them
alone; and where others needed them all along, the result is provisional: it serves, and the next start measures
again, so that a loaded first start decides nothing for good.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
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
from service.inference.execution_plan import Plan, find_plan, keep_plan, open_for, processors, share, usual
from service.settings import Settings

logger = logging.getLogger("catseye")

NEARLY: Final = 0.75
"""The smallest batch is taken that reaches this share of the best plan's images a second. Batches cost everybody
latency and memory, and they promise more in threads than they hold over HTTP, where they are never as full: a plan
of 16 that had measured a third more than single images served 181 images a second beside 188, in 450 MB beside 200
(int8, two cores)."""
CALLERS: Final = 8
"""Callers at once for each processor, at most, for every plan: one that needs more company to fill its batches
promises what it does not hold when there is less. With 32 callers batches of 16 measured a third more than single
images, and served 201 images a second beside 327 at 16 connections (int8, two cores)."""
ROUNDS: Final = 3
BUSY: Final = 0.2
"""Share of the processors' time that went to others, over which a measurement is provisional."""


def plan_for(stored: StoredModel, settings: Settings, seconds: float) -> Plan:
    """The kept plan; else one that is measured within about so many seconds and kept; without time, the usual one."""
    found = find_plan(stored.card, settings)
    if seconds <= 0 or (found is not None and not found.provisional):
        return found or usual(settings)
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
    """The plans worth measuring, with what the operator has set held still."""
    count, tensorflow = share(settings), settings.runtime == "tensorflow"
    # TensorFlow's threads are divided between its runs when it starts, so their number cannot be tried.
    streams = [count] if tensorflow else sorted({1, count})
    threads = [2 * count] if brief else [count, 2 * count, 4 * count]
    batches = [1, 8] if brief else [1, 4, 8, 16]
    waits = [usual(settings).wait_ms] if brief or settings.batch_wait_ms is not None else [0.0, 2.0, 5.0]
    plans: list[Plan] = []
    for stream, batch in product(_set_or(settings.streams, streams), _set_or(settings.batch, batches)):
        # Batches fill only where more threads bring images than one batch takes; alone, an image waits for nobody.
        crew = _set_or(settings.threads, threads) if batch == 1 else [max(2 * batch, settings.threads or threads[-1])]
        for number, wait in product(crew, waits if batch > 1 else waits[:1]):
            plans.append(Plan(streams=stream, threads=number, batch=batch, wait_ms=wait))
    return plans


def measure(
    stored: StoredModel,
    settings: Settings,
    plans: Sequence[Plan],
    seconds: float,
    turned: Callable[[], object] = lambda: None,
) -> list[Plan]:
    """Each plan with its figures, decoding a photograph of 640x480 and running the network for so long.

    The time of each is spread over ``ROUNDS`` turns, after each of which ``turned`` is called. Images a second
    are the median of the turns'.
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
        with _watched() as others:
            for _ in range(ROUNDS):
                for number, plan in enumerate(plans):
                    callers = min(plan.threads, CALLERS * share(settings))
                    turn = _times(runs[number], callers, seconds / ROUNDS)
                    rates[number].append(len(turn) * callers / max(sum(turn), 1e-9))
                    times[number] += turn
                    turned()
    finally:
        for runtime in runtimes.values():
            runtime.close()
    return [
        plan.model_copy(
            update={
                "images_per_second": round(median(rates[number]), 1),
                "p50_ms": round(median(times[number]) * 1e3, 2),
                "provisional": others() > BUSY,
            }
        )
        for number, plan in enumerate(plans)
    ]


def best(measured: Sequence[Plan]) -> Plan:
    """Among the plans that are nearly the fastest, the fastest of those with the smallest batch.

    Latencies are not compared: in a loop of so many threads they say how many threads there are.
    """
    top = max(plan.images_per_second for plan in measured)
    nearly = [plan for plan in measured if plan.images_per_second >= NEARLY * top]
    return min(nearly, key=lambda plan: (plan.batch, -plan.images_per_second))


def _set_or(chosen: int | None, otherwise: list[int]) -> list[int]:
    return otherwise if chosen is None else [chosen]


def _work(runtime: Runtime, size: tuple[int, int], photograph: bytes, plan: Plan) -> Callable[[], object]:
    """What a thread does for one image, done once already; the same as ``service.inference.served_model`` does."""

    def alone() -> object:
        return runtime.run(decode(photograph, size)[None])

    batcher = Batcher(runtime.run, max_batch=plan.batch, wait=plan.wait_ms / 1e3, runs=plan.streams)

    def together() -> object:
        return batcher.decode_and_run(lambda: decode(photograph, size), ("logits",))

    run = alone if plan.batch == 1 else together
    run()
    if plan.batch > 1:  # in a form that the runtime makes when it is first asked for
        runtime.run(np.zeros((plan.batch, *size, 3), np.uint8))
    return run


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


@contextmanager
def _watched() -> Iterator[Callable[[], float]]:
    """Gives, afterwards, the share of the processors' time that others used: 0 where the system does not say."""
    shares: list[float] = []
    began, busy, own = time.perf_counter(), _busy_seconds(), time.process_time()
    yield lambda: shares[0] if shares else 0.0
    took = time.perf_counter() - began
    if busy is not None and (now := _busy_seconds()) is not None:
        others = now - busy - (time.process_time() - own)
        shares.append(others / max(took * processors(), 1e-9))


def _busy_seconds() -> float | None:
    """Processor seconds that the machine has spent on anything, its own hypervisor's neighbours included."""
    try:
        words = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    except OSError:
        return None
    ticks = [int(word) for word in words[1:9]]
    idle = ticks[3] + ticks[4]
    return (sum(ticks) - idle) / 100  # USER_HZ, the same on every Linux that Python runs on


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Of several workers one measures, and the others wait and find its plan; all do where nothing can be kept."""
    with ExitStack() as stack:
        with suppress(OSError):
            stack.enter_context(exclusive(home))
        yield


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
