"""The wall clock jumps: by libfaketime, for the server alone."""

import re
import time
from contextlib import suppress
from pathlib import Path

from tests.chaos.processes import port_of, whole
from tests.chaos.row import Row
from tests.chaos.stores import version
from tests.chaos.traffic import Traffic, until
from tests.e2e.conftest import make_model
from tests.e2e.live import Live

JUMPS = ("-2d", "+400d", "-0")


def library() -> Path | None:
    """Debian's libfaketime for programs with threads, where it is installed."""
    with suppress(OSError, StopIteration):
        return next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    return None


def environment(file: Path) -> dict[str, str]:
    """What lets the server's wall clock be set by a file; the clock that measures spans stays true."""
    file.write_text("+0\n")
    return {
        "LD_PRELOAD": str(library()),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        "DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DONT_RESET": "1",
    }


def jumps(live: Live, body: bytes, file: Path) -> Row:
    """Back two days, on four hundred, and home again, with a new version after each."""
    port, took = port_of(live), []
    seen = []
    with Traffic(port, body) as traffic:
        fault = time.monotonic()
        for number, jump in enumerate(JUMPS):
            file.write_text(f"{jump}\n")
            time.sleep(1)
            date = live.client.get("/livez").headers.get("date", "")
            seen.append(re.sub(r"^\w+, (\d+ \w+ \d+).*", r"\1", date))
            new = make_model(live.model, backbone="cnn", size=32, seed=30 + number)
            took.append(until(lambda: version(live) == new.version, 30))  # noqa: B023
        lost = traffic.lost(fault)
    recovery = None if None in took else max(took)
    held = (
        not lost and recovery is not None and len(set(seen)) == len(JUMPS) and until(lambda: whole(live, 2)) is not None
    )
    return Row(
        "wall clock jumps (-2, +400 days, back)",
        len(traffic.sent),
        lost,
        recovery,
        held,
        f"dates seen: {'; '.join(seen)}",
    )
