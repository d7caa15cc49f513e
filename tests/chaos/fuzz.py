"""So many broken images through the product's decode, in a process of its own: ``python -m tests.chaos.fuzz CASES``.

A third are whole files with changes that hypothesis invents, a third its splices of two, a third arbitrary bytes
behind a true beginning. Prints one JSON object: the cases, the slowest in seconds, the process's peak in kilobytes,
the failures.
"""

import json
import sys
import time

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from models.errors import CatseyeError
from models.image.decode import Limits, decode
from tests.support import hostile
from tests.support.hostile import INSIDES, MARKS, WHOLE

LIMITS = Limits(max_pixels=200_000, max_frames=50)
CHANGES = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=6)), max_size=6)

cases = 0
slowest = 0.0
failures: list[str] = []


def answered(data: bytes) -> None:
    """Decode, and note how long it took and whether the answer is one."""
    global cases, slowest
    began = time.perf_counter()
    try:
        decode(data, (16, 16), LIMITS)
    except CatseyeError as error:
        if not 400 <= error.status < 500 or INSIDES.search(error.detail):
            failures.append(f"{error.detail!r} of {data[:200]!r}")
    except BaseException as error:
        failures.append(f"{error!r} of {data[:200]!r}")
    cases += 1
    slowest = max(slowest, time.perf_counter() - began)


def main() -> None:
    """Run so many cases as the first argument says; the second is the seed."""
    many, chance = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    quiet = settings(
        max_examples=many // 3 + 1,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )

    @seed(chance)
    @quiet
    @given(st.sampled_from(WHOLE), CHANGES, st.floats(0, 1), st.booleans())
    def changed(data: bytes, changes: list[tuple[float, bytes]], cut: float, in_head: bool) -> None:
        broken = bytearray(data)
        for place, piece in changes:
            at = int(place * (min(len(broken), 80) if in_head else len(broken)))
            broken[at : at + len(piece)] = piece
        answered(bytes(broken[: max(1, int(len(broken) * cut))] if cut > 0.3 else broken))

    @seed(chance)
    @quiet
    @given(st.sampled_from(WHOLE), st.sampled_from(WHOLE), st.floats(0, 1), st.floats(0, 1))
    def spliced(one: bytes, other: bytes, first: float, second: float) -> None:
        answered(one[: int(len(one) * first)] + other[int(len(other) * second) :])

    @seed(chance)
    @quiet
    @given(st.sampled_from(MARKS), st.binary(max_size=300))
    def arbitrary(mark: bytes, rest: bytes) -> None:
        answered(mark + rest)

    for strategy in (changed, spliced, arbitrary):
        strategy()
    print(json.dumps({"cases": cases, "slowest": slowest, "peak_kb": hostile.peak_kb(), "failures": failures[:5]}))


if __name__ == "__main__":
    main()
