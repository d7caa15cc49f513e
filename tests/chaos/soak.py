"""``python -m tests.chaos.soak MINUTES``: mixed traffic and new versions, and whether anything grows meanwhile."""

import argparse
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, quantiles

from models.card import Card
from models.store import store
from tests.chaos.plan import MODEL, serving
from tests.chaos.processes import workers
from tests.chaos.row import Row, show
from tests.chaos.traffic import Traffic
from tests.support import servers as server
from tests.support import state  # first: a store and a scratch folder of our own
from tests.support.images import jpeg, png
from tests.support.networks import make_model

WARM_SHARE = 0.25
"""This share of the time is for warming up: caches fill, and the first versions come and go."""
GROWTH = 0.05
LATER_LATENCY = 1.25
"""The p50 of the last third may be so many times that of the first: neighbours on a machine move it, too."""


@dataclass(frozen=True)
class Look:
    """The workers at one moment: megabytes resident, descriptors, threads."""

    when: float
    memory: float
    descriptors: int
    threads: int


def look(live: server.Live) -> Look:
    """Ask the system."""
    crew = workers(live)
    return Look(
        time.monotonic(),
        sum(worker.memory_info().rss for worker in crew) / 1e6,
        sum(worker.num_fds() for worker in crew),
        sum(worker.num_threads() for worker in crew),
    )


def flat(fault: str, tries: int, values: list[float], most: float, unit: str) -> Row:
    """Whether the mean of the last third of the looks is at most ``most`` times that of the first."""
    third = max(1, len(values) // 3)
    first, last = fmean(values[:third]), fmean(values[-third:])
    note = f"{first:,.1f} to {last:,.1f} {unit}, {(last / first - 1) * 100:+.1f} %"
    return Row(fault, tries, 0, None, last / first <= most, note)


def soak(minutes: float) -> list[Row]:
    """Run the traffic, and give the verdicts."""
    # Two versions are loaded from the first swap on, and each network that is compiled has threads of its own: several
    # swaps belong to the warm-up, however short the run.
    swap_seconds = min(20.0, minutes * 60 * WARM_SHARE / 4)
    # Two versions alternate, copied from these, so that a swap costs the machine no export.
    ignored = shutil.ignore_patterns("card.json", "model.yaml")
    cards, kept = [], Path(tempfile.mkdtemp(prefix="catseye-soak-"))
    for number in range(2):
        model = make_model(MODEL, backbone="cnn", size=32, seed=number + 1)
        shutil.copytree(model.path, kept / str(number), ignore=ignored)
        cards.append(model.card)
    looks: list[Look] = []
    swaps = 0
    with serving(CATSEYE_TIMEOUT="30", CATSEYE_RELOAD_SECONDS="2") as live, ExitStack() as stack:
        port, body = live.port, jpeg(200, 200, seed=1)
        kinds = {
            "/v1/classify": body,
            "/v1/classify?top_k=2": png(120, 90, seed=2),
            "/v1/feature-maps?layer=0&channels=all": body,
            "/v1/explain": body,
            "/v1/embed": body,
        }
        crowd = [Traffic(port, sent, clients=2, pause=0.02, path=path, timeout=20) for path, sent in kinds.items()]
        crowd.append(Traffic(port, b"\xff\xd8\xff broken", clients=1, pause=0.05, timeout=20, expects=400))
        for traffic in crowd:
            stack.enter_context(traffic)
        began = swapped = time.monotonic()
        while time.monotonic() - began < minutes * 60:
            time.sleep(2)
            looks.append(look(live))
            if time.monotonic() - swapped > swap_seconds:
                swapped = time.monotonic()
                _again(kept / str(swaps % 2), cards[swaps % 2])
                swaps += 1
    warm = began + minutes * 60 * WARM_SHARE
    after = [one for one in looks if one.when >= warm]
    tries = sum(len(traffic.sent) for traffic in crowd)
    lost = sum(sent.status != traffic.expects for traffic in crowd for sent in traffic.sent)
    plain = [sent for sent in crowd[0].sent if sent.began >= warm]
    spans = [sent.ended - sent.began for sent in plain]
    third = max(2, len(spans) // 3)
    early, late = (quantiles(part, n=100) for part in (spans[:third], spans[-third:]))
    note = f"p50 {early[49] * 1e3:.1f} to {late[49] * 1e3:.1f} ms, p99 {early[98] * 1e3:.0f} to {late[98] * 1e3:.0f} ms"
    return [
        Row(f"mixed traffic, {swaps} new versions", tries, lost, None, not lost),
        flat("resident memory of both workers", len(after), [one.memory for one in after], 1 + GROWTH, "MB"),
        flat("descriptors", len(after), [float(one.descriptors) for one in after], 1 + GROWTH, ""),
        flat("threads", len(after), [float(one.threads) for one in after], 1 + GROWTH, ""),
        Row("latency of /v1/classify", len(plain), 0, None, late[49] <= early[49] * LATER_LATENCY, note),
    ]


def _again(kept: Path, card: Card) -> None:
    """Store the same files as a new version, and keep the store small."""
    store.save(card, lambda folder: shutil.copytree(kept, folder, dirs_exist_ok=True))
    for old in store.list_models(card.name)[4:]:
        store.delete(old.tag)


def main() -> int:
    """Soak for as long as asked, and give 1 where something grew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("minutes", type=float, nargs="?", default=30.0)
    minutes = parser.parse_args().minutes
    rows = soak(minutes)
    return show(rows, f"soak, {minutes:g} minutes")


if __name__ == "__main__":
    assert state.HOME
    sys.exit(main())
