"""What is done, in order: the full form for ``make chaos``, the short one for the tests."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from models.store import store
from tests.chaos import clients, clock, hostility, isolation, learning, overload, processes, stores
from tests.chaos.row import Row, surely
from tests.support import servers as server
from tests.support.images import jpeg
from tests.support.networks import make_model

MODEL = "steady"
HEAVY = "heavy"
TIMEOUT = 5.0
HANG = 10.0
QUEUE = 64
BODY = jpeg(80, 80, seed=1)

Fault = Callable[[server.Live], Row]
Told = Callable[[Row], None]


@contextmanager
def serving(**settings: str) -> Iterator[server.Live]:
    """Two workers that look at the store all the time."""
    defaults = {
        "CATSEYE_DEFAULT_MODEL": MODEL,
        "CATSEYE_WORKERS": "2",
        "CATSEYE_RELOAD_SECONDS": "0.25",
        "CATSEYE_TIMEOUT": str(TIMEOUT),
        "CATSEYE_DRAIN_SECONDS": "1",
        "CATSEYE_HANG_SECONDS": str(HANG),
        "CATSEYE_ACCESS_LOG": "false",
    }
    live = server.start(store.store_home(), **defaults | settings)
    try:
        yield live
    except BaseException:
        print(live.output()[-6000:], file=sys.stderr)
        raise
    finally:
        server.stop(live)


def short() -> dict[str, Fault]:
    """Seconds of it, on one server."""
    return {
        "terminated": lambda live: processes.killed(live, BODY, 1, signal.SIGTERM),
        "corrupted_and_killed": lambda live: stores.corrupted_and_killed(live, BODY),
        "deleted": lambda live: stores.deleted(live, BODY),
        "away": lambda live: stores.away(live, BODY),
        "senders": lambda live: clients.slow_senders(live, BODY, 100, 1),
        "leavers": lambda live: clients.leavers(live, BODY, 100),
        "descriptors": lambda live: clients.no_descriptors(live, BODY, 100),
        "requests": lambda live: hostility.requests(live, 500),
        "http": lambda live: isolation.over_http(live, 500),
        "items": lambda live: isolation.in_process(20_000),
        "openvino": lambda live: isolation.poison(store.get(MODEL), "openvino", 200),
    }


def full() -> dict[str, Fault]:
    """All of it that one server with two workers can bear."""
    return {
        "killed": lambda live: processes.killed(live, BODY, 5),
        "terminated": lambda live: processes.killed(live, BODY, 2, signal.SIGTERM),
        "stopped": lambda live: processes.stopped(live, BODY, 4),
        "hung": lambda live: processes.hung(live, BODY, HANG),
        "corrupted": lambda live: stores.corrupted(live, BODY),
        "deleted": lambda live: stores.deleted(live, BODY),
        "corrupted_and_killed": lambda live: stores.corrupted_and_killed(live, BODY),
        "architecture": lambda live: stores.other_architecture(live, BODY),
        "away": lambda live: stores.away(live, BODY),
        "unreadable": lambda live: stores.unreadable(live, BODY),
        "disk": lambda live: stores.disk_full(live, BODY, 8),
        "senders": lambda live: clients.slow_senders(live, BODY, 300, TIMEOUT + 5, cut_off=True),
        "readers": lambda live: clients.slow_readers(live, BODY, 200, TIMEOUT),
        "leavers": lambda live: clients.leavers(live, BODY, 300),
        "descriptors": lambda live: clients.no_descriptors(live, BODY, 300),
        "requests": lambda live: hostility.requests(live, 20_000),
        "http": lambda live: isolation.over_http(live, 50_000),
        "leave": lambda live: processes.told_to_leave(live, BODY),
    }


def alone() -> dict[str, Callable[[], list[Row]]]:
    """What needs no server, or one of its own."""
    return {
        "bodies": _bodies,
        "parent": _parent,
        "clock": _clock,
        "overload": _overload,
        "items": lambda: [isolation.in_process(1_000_000)],
        "openvino": lambda: [isolation.poison(store.get(MODEL), "openvino", 2_000)],
        "tensorflow": lambda: [isolation.poison(store.get(MODEL), "tensorflow", 2_000)],
        "corpus": lambda: [hostility.corpus()],
        "fuzz": lambda: [hostility.fuzzed(100_000, os.cpu_count() or 1)],
        "training": learning.faults,
        "guided": lambda: [hostility.guided(50_000)],
    }


def on_one_server(faults: dict[str, Fault], tell: Told, timeout: float = TIMEOUT) -> list[Row]:
    """Two versions of a small network, two workers, one fault after another; ``timeout`` is the service's."""
    for seed in (1, 2):
        make_model(MODEL, backbone="cnn", size=32, seed=seed)
    rows: list[Row] = []
    with serving(CATSEYE_TIMEOUT=str(timeout)) as live:
        for name, fault in faults.items():
            for row in surely(name, partial(fault, live)):
                rows.append(row)
                tell(row)
    return rows


def _overload() -> list[Row]:
    make_model(HEAVY, backbone="mobilenet_v2", size=224, seed=1)
    settings = {"CATSEYE_WORKERS": "1", "CATSEYE_MODELS": HEAVY, "CATSEYE_QUEUE": str(QUEUE), "CATSEYE_TIMEOUT": "30"}
    with serving(**settings, CATSEYE_DEFAULT_MODEL=HEAVY) as live:
        time.sleep(1)
        return overload.overload(live, BODY, queue=QUEUE, seconds=4)


def _bodies() -> list[Row]:
    make_model(MODEL, backbone="cnn", size=32, seed=1)
    with serving(CATSEYE_MAX_BODY_MB="31", CATSEYE_MAX_BODIES_MB="128") as live:
        return [clients.large_bodies(live, BODY, 100, 30_000_000, 128_000_000)]


def _parent() -> list[Row]:
    make_model(MODEL, backbone="cnn", size=32, seed=1)
    with serving() as live:
        return [processes.parent_killed(live, BODY)]


def _clock() -> list[Row]:
    clock.library()
    make_model(MODEL, backbone="cnn", size=32, seed=1)
    own = clock.Clock()
    with serving(CATSEYE_ACCESS_LOG="true", **own.settings) as live:
        return [clock.jumps(live, own, BODY), clock.leaves(live, own, BODY)]
