"""More work than can be done: what is answered is answered in time, and the rest is told to come back."""

import time

import httpx

from tests.chaos.arrivals import offered, peak
from tests.chaos.processes import port_of
from tests.chaos.row import Row
from tests.chaos.traffic import request
from tests.e2e.live import Live


def overload(
    live: Live, body: bytes, *, queue: int, seconds: float, times: tuple[int, ...] = (1, 2, 4, 10)
) -> list[Row]:
    """A row for each multiple of the peak.

    The queue's bound is counted in answers, so that it holds on a machine whose speed changes by the second. A request
    that is let in finds at most ``queue`` before it and ``slots`` in work, and as many of those after it may overtake
    it there. Those that are answered while it and its reply are on the way come on top; how long that takes is seen at
    the refusals, which wait for nothing else.
    """
    ask, port = request(port_of(live), body), port_of(live)
    slots = int(live.client.get(f"/v1/models/{live.model}").json()["variants"]["accurate"]["plan"]["threads"])
    before = peak(port, ask, min(seconds, 2))  # warm
    before = peak(port, ask, seconds)
    rows = []
    for multiple in times:
        used, began = time.process_time(), time.monotonic()
        load = offered(port, ask, before * multiple, seconds)
        own = (time.process_time() - used) / (time.monotonic() - began)
        refused = load.of(503)
        odd = len(load.replies) - len(load.of(200)) - len(refused) + load.broken
        odd += sum(not reply.retry_after.isdigit() for reply in refused)
        back = _back(
            live, body, max((int(reply.retry_after) for reply in refused if reply.retry_after.isdigit()), default=0)
        )
        # On both sides, since the machine may be slower or faster by then.
        after = peak(port, ask, seconds)
        share = load.goodput / ((before + after) / 2)
        bound = queue + 2 * slots + load.goodput * load.p99(503)
        note = (
            f"{load.goodput:.0f}/s of {before:.0f} and {after:.0f}/s = {share:.2f}; p99 {load.p99(200):.2f} s, "
            f"{load.first():.0f} answers at most {bound:.0f}; {len(refused):,} refused; "
            f"the clients took {own:.2f} of a processor"
        )
        held = odd == 0 and back and (share >= 0.9 or multiple not in (2, 4)) and load.first() <= bound
        rows.append(Row(f"overload, {multiple} times the peak", len(load.replies) + load.broken, odd, None, held, note))
        before = after
    return rows


def _back(live: Live, body: bytes, seconds: int) -> bool:
    """Whether one who comes back after so many seconds is answered."""
    time.sleep(seconds)
    with httpx.Client(base_url=live.client.base_url, timeout=60) as client:
        return client.post("/v1/classify", content=body).status_code == 200
