"""``python -m tests.chaos``: every fault in turn, and one table of what each cost (``make chaos``)."""

import argparse
import os
import sys
import time

from tests.chaos import plan
from tests.chaos.row import Row, show, surely
from tests.support import state  # first: a store and a scratch folder of our own


def main() -> int:
    """Run them, and give 1 where one did not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="seconds of it, as the tests do")
    parser.add_argument("--only", default="", help="names of faults, separated by commas")
    arguments = parser.parse_args()
    only = set(filter(None, arguments.only.split(",")))
    faults = plan.short() if arguments.short else plan.full()
    others = {} if arguments.short else plan.alone()
    if unknown := only - set(faults) - set(others):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join([*faults, *others])}")
    began = time.monotonic()

    def tell(row: Row) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {row.fault}: {row.verdict}", file=sys.stderr, flush=True)

    wanted = {name: fault for name, fault in faults.items() if not only or name in only}
    rows = plan.on_one_server(wanted, tell) if wanted or only else []
    for name, run in others.items():
        if not only or name in only:
            for row in surely(name, run):
                rows.append(row)
                tell(row)
    load = os.getloadavg()[1]
    took = (time.monotonic() - began) / 60
    return show(
        rows, f"make chaos: {took:.0f} minutes, {os.cpu_count()} processors, load average at the end {load:.1f}"
    )


if __name__ == "__main__":
    assert state.HOME
    sys.exit(main())
