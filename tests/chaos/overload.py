"""More work than can be done: what is answered is answered in time, and the rest is told to come back."""

import time
from functools import reduce
from operator import add
from statistics import fmean

import httpx

from tests.chaos.arrivals import Load, offered, peak
from tests.chaos.row import Row
from tests.chaos.traffic import request
from tests.support.servers import Live


def overload(live: Live, body: bytes, *, queue: int, seconds: float, spells: int = 4) -> list[Row]:
    """A row for each multiple of the peak.

    Peak and load are measured by turns, ``spells`` times ``seconds`` of each, for the machine may be slower by then.

    The queue's bound is counted in answers, for the same reason. A request that is let in finds at most ``queue``
    before it and ``slots`` in work, and as many of those after it may overtake it there. Those that are answered while
    it and its reply are on the way come on top; how long that takes is seen at the refusals, which wait for nothing.
    """
    port = live.port
    ask = request(port, body)
    slots = int(live.client.get(f"/v1/models/{live.model}").json()["variants"]["accurate"]["plan"]["threads"])
    peak(port, ask, seconds)  # warm
    rows = []
    for multiple in (1, 2, 4, 10):
        loads: list[Load] = []
        peaks, used, took = [peak(port, ask, seconds)], 0.0, 0.0
        for _ in range(spells):
            before, start = time.process_time(), time.monotonic()
            loads.append(offered(port, ask, peaks[-1] * multiple, seconds))
            used += time.process_time() - before
            took += time.monotonic() - start
            peaks.append(peak(port, ask, seconds))
        load = reduce(add, loads)
        refused = [reply.retry_after for reply in load.replies if reply.status == 503]
        odd = len(load.replies) - load.count(200) - len(refused) + load.broken
        odd += sum(not after.isdigit() for after in refused)
        back = _back(live, body, max((int(after) for after in refused if after.isdigit()), default=0))
        best = fmean(peaks)
        share, bound = load.goodput / best, queue + 2 * slots + load.goodput * load.p99(503)
        note = (
            f"{load.goodput:.0f}/s of {best:.0f}/s = {share:.2f}; p99 {load.p99(200):.2f} s, "
            f"{load.first():.0f} answers at most {bound:.0f}; {len(refused):,} refused; "
            f"the clients took {used / took:.2f} of a processor"
        )
        held = odd == 0 and back and (share >= 0.9 or multiple not in (2, 4)) and load.first() <= bound
        rows.append(Row(f"overload, {multiple} times the peak", len(load.replies) + load.broken, odd, None, held, note))
    return rows


def _back(live: Live, body: bytes, seconds: int) -> bool:
    """Whether one who comes back after so many seconds is answered."""
    time.sleep(seconds)
    with httpx.Client(base_url=live.client.base_url, timeout=60) as client:
        return client.post("/v1/classify", content=body).status_code == 200
