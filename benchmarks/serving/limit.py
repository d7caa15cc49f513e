"""The in-process limit: the same decode and network in threads, without HTTP; it is told when its turn is.

``python -m benchmarks.serving.limit FOLDER STREAMS`` reads lines ``threads streams seconds file`` and answers each with
a line of JSON, so that it takes turns with the servers like one of them. With one stream a run has every processor.
"""

import json
import os
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.serving.load import Outcome
from models.card import read_card
from models.image.decode import decode
from models.runtime.open import open_runtime
from models.store.store import StoredModel


class Limit:
    """The process, seen from the one that gives the turns."""

    def __init__(self, folder: Path, streams: int, root: Path) -> None:
        command = [sys.executable, "-m", "benchmarks.serving.limit", str(folder), str(streams)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=root,
            env=os.environ | {"PYTHONPATH": str(root)},
        )

    def run(self, threads: int, streams: int, seconds: float, file: Path) -> Outcome:
        """Decode and infer for so long, in a network of so many streams."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{threads} {streams} {seconds} {file}\n")
        self._process.stdin.flush()
        return Outcome(**json.loads(self._process.stdout.readline()))

    def end(self) -> None:
        """End the process."""
        self._process.communicate("", timeout=10)


def _turn(runtime: Any, size: tuple[int, int], threads: int, seconds: float, data: bytes) -> dict[str, float]:
    times: list[float] = []
    until = time.perf_counter() + seconds
    began = time.perf_counter()

    def again() -> None:
        while (start := time.perf_counter()) < until:
            runtime.run(decode(data, size)[None], ("logits",))
            times.append(time.perf_counter() - start)

    crew = [threading.Thread(target=again) for _ in range(threads)]
    for each in crew:
        each.start()
    for each in crew:
        each.join()
    cuts = [value * 1e3 for value in statistics.quantiles(times, n=100)]
    rate = len(times) / (time.perf_counter() - began)
    return {"rate": rate, "p50": cuts[49], "p95": cuts[94], "p99": cuts[98], "errors": 0}


def main() -> None:
    """Take turns until the input ends."""
    folder = Path(sys.argv[1])
    card = read_card(folder / "card.json")
    model = StoredModel("bench", "limit", folder, card)
    runtimes = {streams: open_runtime(model, precision="int8", streams=streams) for streams in (1, int(sys.argv[2]))}
    for line in sys.stdin:
        threads, streams, seconds, file = line.rstrip("\n").split(" ", 3)
        data = Path(file).read_bytes()
        print(json.dumps(_turn(runtimes[int(streams)], card.input_size, int(threads), float(seconds), data)))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
