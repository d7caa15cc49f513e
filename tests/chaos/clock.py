"""The wall clock jumps while a server runs: libfaketime (Debian) gives all of its processes a clock of their own."""

import tempfile
import time
from pathlib import Path

from tests.chaos import processes
from tests.chaos.processes import whole
from tests.chaos.row import NotRun, Row
from tests.chaos.stores import version
from tests.chaos.traffic import Traffic
from tests.support import programs
from tests.support.networks import make_model
from tests.support.servers import Live
from tests.support.waiting import seconds_until

DAY = 86_400
SECONDS_OLD = 1
"""How long a server goes by what it has read of its clock."""


def library() -> str:
    """The path of libfaketime; ``NotRun`` without it."""
    path = programs.find("libfaketime")
    if path is None:
        raise NotRun(programs.missing("libfaketime"))
    return path


class Clock:
    """The clock of a server that is started with ``settings``."""

    def __init__(self) -> None:
        self._file = Path(tempfile.mkdtemp(prefix="catseye-clock-")) / "offset"
        self.set(0)

    @property
    def settings(self) -> dict[str, str]:
        """Environment variables: the clock is read anew each second, and monotonic time is left alone.

        Read at every call it takes minutes to import what the server needs.
        """
        return {
            "LD_PRELOAD": library(),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": str(SECONDS_OLD),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def set(self, seconds: int) -> None:
        """Be so far ahead of true time from now on."""
        scratch = self._file.with_suffix(".new")
        scratch.write_text(f"{seconds:+d}\n")
        scratch.replace(self._file)


def says(live: Live) -> float:
    """What time the server thinks it is, by its log: seconds ahead of true time."""
    id_ = f"clock-{time.monotonic_ns()}"
    live.client.get("/v1/models", headers={"X-Request-ID": id_})

    return float(live.logged(id_)[0]["time"]) - time.time()


def jumps(live: Live, clock: Clock, body: bytes) -> Row:
    """A day ahead, a day back, and so on under load; new versions come meanwhile, and at the end SIGTERM does."""
    seen = []
    with Traffic(live.port, body) as traffic:
        fault = time.monotonic()
        for number, offset in enumerate((DAY, -DAY, 0, -DAY)):
            clock.set(offset)
            time.sleep(1.5 * SECONDS_OLD)
            new = make_model(live.model, backbone="cnn", size=32, seed=30 + number)
            took = seconds_until(lambda: version(live) == new.version)  # noqa: B023
            seen.append(abs(says(live) - offset) < 60)
            time.sleep(1)
        lost = traffic.lost(fault)
    held = lost == 0 and took is not None and all(seen) and seconds_until(lambda: whole(live, 2)) is not None
    return Row(
        "wall clock set a day ahead and back, 4 times",
        len(traffic.sent),
        lost,
        took,
        held,
        "" if all(seen) else "the clock did not jump",
    )


def leaves(live: Live, clock: Clock, body: bytes) -> Row:
    """SIGTERM, and the clock jumps a day back in the middle of the way out."""
    clock.set(0)

    def back() -> None:
        clock.set(-DAY)

    row = processes.told_to_leave(live, body, meanwhile=back)
    return Row(f"{row.fault}, the clock set back meanwhile", row.tries, row.lost, row.recovery, row.held, row.note)
