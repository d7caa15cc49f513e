"""One run: sweep the peers' settings, then give all of them turns, then pace, start and weigh them."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.serving import rows
from benchmarks.serving.contestants import Contestant, Settings, contestants, field_of, with_plain_decode
from benchmarks.serving.limit import Limit
from benchmarks.serving.load import Load, closed, paced
from benchmarks.serving.photographs import as_multipart
from benchmarks.serving.rows import LIMIT, LONE, Row
from benchmarks.serving.servers import ROOT, Server, start
from models.store.store import StoredModel

SMALL, LARGE = "640x480", "12MP"
MANY = 16
STREAMS = 2
SHARES = (0.5, 0.8)


@dataclass(frozen=True)
class Shape:
    """How much is measured."""

    rounds: int = 3
    seconds: float = 3.0
    connections: tuple[int, ...] = (1, 16, 64, 256)
    sweep: bool = True
    paced: bool = True
    base_port: int = 4200


class Run:
    """The state of a run: who serves, what has been measured."""

    def __init__(
        self, shape: Shape, python: str, model: StoredModel, photographs: dict[str, Path], scratch: Path, home: Path
    ) -> None:
        self.shape, self._python, self._model, self._photographs = shape, python, model, photographs
        self._scratch, self._home = scratch, home
        self._warm: set[tuple[Contestant, str]] = set()
        self.rows: list[Row] = []
        self._ports = iter(range(shape.base_port, shape.base_port + 99))

    def tune(self, chosen: dict[str, Settings]) -> None:
        """This service's own sweep: ``catseye tune`` for each network that is not in ``chosen``."""
        for contestant in contestants():
            if contestant.ours and contestant.title not in chosen:
                say(f"  {contestant.title}: catseye tune")
                environment = contestant.environment({}, self._model.path, self._home, 0)
                command = [sys.executable, "-m", "catseye", "tune", "bench", "--seconds", str(self.shape.seconds / 8)]
                with (self._scratch / "tune.log").open("ab") as log:
                    subprocess.run(
                        command, env=os.environ | environment, check=True, stdout=log, stderr=log, cwd=self._scratch
                    )

    def sweep(self, chosen: dict[str, Settings], keep: Callable[[dict[str, Settings]], object]) -> dict[str, Settings]:
        """The best settings of each by title, those in ``chosen`` as they are; ``keep`` is told of every new one."""
        best = dict(chosen)
        self.tune(chosen)
        best |= {contestant.title: {} for contestant in contestants() if contestant.ours}
        for contestant in contestants():
            if contestant.ours or contestant.title in best:
                continue
            tried: list[tuple[float, Settings]] = []
            for settings in contestant.tries if self.shape.sweep else contestant.tries[:1]:
                try:
                    rate = self._try(contestant, settings) if self.shape.sweep else 0.0
                except RuntimeError as error:
                    say(f"  {contestant.title} {settings}: {str(error).splitlines()[0]}")
                    rate = 0.0
                tried.append((rate, settings))
            best[contestant.title] = max(tried, key=lambda each: each[0])[1]
            keep(best)
        return best

    def _try(self, contestant: Contestant, settings: Settings) -> float:
        server, port = self._start(contestant, settings)
        try:
            load = self._load(contestant, settings, port, SMALL)
            closed(load, MANY, 1)
            outcome = closed(load, MANY, self.shape.seconds)
        finally:
            server.end()
        self._keep("sweep", contestant, settings, photograph=SMALL, connections=MANY, **rows.of(outcome))
        say(f"  {contestant.title} {settings}: {outcome.rate:.1f}/s, {outcome.errors} errors")
        return outcome.rate if not outcome.errors else 0.0

    def turns(self, chosen: dict[str, Settings]) -> None:
        """All at once, one of them running at a time."""
        field = contestants()
        field += [with_plain_decode(each) for each in field if not each.ours and each.network == "int8"]
        with self._all(field, chosen) as serving:
            limit = Limit(self._model.path, STREAMS, ROOT)
            try:
                for round_ in range(self.shape.rounds):
                    for photograph, connections in self._cases():
                        self._limit_turn(limit, photograph, connections, round_)
                        for contestant, (server, port) in serving.items():
                            if self._takes_part(contestant, photograph, connections, round_):
                                self._turn(contestant, chosen, server, port, photograph, connections, round_)
            finally:
                limit.end()
            leaders = {rows.Table(self.rows).best(network, SMALL, MANY)[0] for network in ("keras", "int8")}
            for contestant, (server, port) in serving.items():
                largest, together = server.megabytes()
                settings = chosen.get(_plain_title(contestant), {})
                self._keep("memory", contestant, settings, largest_mb=round(largest), all_mb=round(together))
                if (
                    self.shape.paced
                    and (contestant.ours or contestant.name in leaders)
                    and contestant.decode == "scaled"
                ):
                    self._pace(contestant, settings, server, port)

    def _limit_turn(self, limit: Limit, photograph: str, connections: int, round_: int) -> None:
        """As many threads as streams; for one connection one thread, and one run that has every processor."""
        ways = [(LIMIT, min(connections, STREAMS), STREAMS)] + [(LONE, 1, 1)] * (connections == 1)
        for name, threads, streams in ways:
            outcome = limit.run(threads, streams, self.shape.seconds, self._photographs[photograph])
            row = Row("turn", name, "int8", photograph=photograph, connections=connections, round=round_)
            self.rows.append(Row(**{**row.__dict__, **rows.of(outcome)}))
            figures = f"{outcome.rate:.1f}/s, p50 {outcome.p50:.1f} ms"
            say(f"  round {round_ + 1}, {photograph}, {connections}: {name} {figures}")

    def _cases(self) -> Iterator[tuple[str, int]]:
        """What is compared first, then how it goes with fewer and more connections."""
        yield SMALL, MANY
        yield LARGE, MANY
        yield from ((SMALL, connections) for connections in self.shape.connections if connections != MANY)

    def _takes_part(self, contestant: Contestant, photograph: str, connections: int, round_: int) -> bool:
        if contestant.decode == "plain":
            return photograph == LARGE
        # What peers do with many connections is measured once: it decides nothing, and their queues take long to drain.
        return contestant.ours or connections <= MANY or round_ == 0

    def _turn(
        self,
        contestant: Contestant,
        chosen: dict[str, Settings],
        server: Server,
        port: int,
        photograph: str,
        connections: int,
        round_: int,
    ) -> None:
        settings = chosen.get(_plain_title(contestant), {})
        load = self._load(contestant, settings, port, photograph)
        with _its_turn(server):
            if (contestant, photograph) not in self._warm:
                self._warm.add((contestant, photograph))
                closed(load, MANY, 1)
            outcome = closed(load, connections, self.shape.seconds)
        case = {"photograph": photograph, "connections": connections, "round": round_}
        self._keep("turn", contestant, settings, **case, **rows.of(outcome))
        say(f"    {contestant.title}: {outcome.rate:.1f}/s, p50 {outcome.p50:.1f} ms, {outcome.errors} errors")

    def _pace(self, contestant: Contestant, settings: Settings, server: Server, port: int) -> None:
        table = rows.Table(self.rows)
        peak = table.rate(contestant.name, contestant.network, SMALL, MANY)
        for share in SHARES if peak else ():
            with _its_turn(server):
                outcome = paced(self._load(contestant, settings, port, SMALL), peak * share, self.shape.seconds * 1.5)
            offered = {"offered": round(peak * share, 1), "share": share}
            self._keep("paced", contestant, settings, photograph=SMALL, **offered, **rows.of(outcome))
            say(f"  {contestant.title} at {share:.0%} of its peak: p50 {outcome.p50:.1f}, p99 {outcome.p99:.1f} ms")

    @contextmanager
    def _all(
        self, field: Sequence[Contestant], chosen: dict[str, Settings]
    ) -> Iterator[dict[Contestant, tuple[Server, int]]]:
        serving: dict[Contestant, tuple[Server, int]] = {}
        try:
            for contestant in field:
                settings = chosen.get(_plain_title(contestant), {})
                try:
                    server, port = self._start(contestant, settings)
                except RuntimeError as error:
                    say(f"  {contestant.title} takes no part: {error}")
                    continue
                serving[contestant] = (server, port)
                self._keep("start", contestant, settings, seconds=round(server.start_seconds, 2))
                say(f"  {contestant.title} ready after {server.start_seconds:.1f} s")
                server.hold()
            yield serving
        finally:
            for server, _ in serving.values():
                server.end()

    def _start(self, contestant: Contestant, settings: Settings) -> tuple[Server, int]:
        port = next(self._ports)
        log = self._scratch / f"{contestant.title} {port}.log".replace(" ", "-")
        environment = contestant.environment(settings, self._model.path, self._home, port)
        command = contestant.command(self._python, port)
        return start(command, environment, port, contestant.ready, log, self._scratch), port

    def _load(self, contestant: Contestant, settings: Settings, port: int, photograph: str) -> Load:
        field, file = field_of(contestant, settings), self._photographs[photograph]
        body, kind = (file, "image/jpeg") if field is None else as_multipart(file, field)
        return Load(port, contestant.path, body, kind)

    def _keep(self, phase: rows.Phase, contestant: Contestant, settings: Settings, **figures: object) -> None:
        words = " ".join(f"{name}={value}" for name, value in settings.items())
        row = Row(phase, contestant.name, contestant.network, contestant.decode, words)
        self.rows.append(Row(**{**row.__dict__, **figures}))


@contextmanager
def _its_turn(server: Server) -> Iterator[None]:
    """Let a server run, and afterwards finish what clients that have gone left behind."""
    server.resume()
    try:
        yield
    finally:
        until = time.perf_counter() + 20
        while server.busy() and time.perf_counter() < until:
            pass
        server.hold()


def _plain_title(contestant: Contestant) -> str:
    """The title that the sweep knows it by: both decodes run with the same settings."""
    return f"{contestant.name} {contestant.network}"


def say(line: str) -> None:
    """Progress goes to standard error, so that the report stands alone on standard output."""
    print(line, file=sys.stderr, flush=True)


def read_chosen(path: Path, machine: str) -> dict[str, Settings]:
    """The settings that an earlier sweep on this machine chose."""
    try:
        kept = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return dict(kept["chosen"]) if kept.get("machine") == machine else {}


def write_chosen(path: Path, machine: str, chosen: dict[str, Settings]) -> None:
    """Keep what the sweep chose."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": machine, "chosen": chosen}, indent=2))
