"""Where the time of a request goes: microseconds by stage that add up to what the client sees.

    python -m benchmarks.serving.profile [--seconds 5] [--network int8] [--backbone resnet50]

Every stage is a mean over the requests of one run, from the service's own access log, whose lines carry the
stages that each answer names. What no line explains is the difference to the client's mean, which for so many
connections in a closed loop is connections / rate (Little's law). The processor time of an image, below the table,
says how many a core can do, also where others keep the machine busy.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.serving.contestants import OURS, contestants
from benchmarks.serving.load import Load, check_wrk, closed
from benchmarks.serving.model import BACKBONE, stored_model
from benchmarks.serving.photographs import write_photographs
from benchmarks.serving.servers import ROOT, Server, start
from service.inference.execution_plan import this_machine

STAGES = {
    "receive": "receive: the body, from the socket to one piece",
    "queue": "queue: waiting to be let in",
    "decode": "decode: JPEG to 224x224 RGB",
    "batch_wait": "batch wait: for others to come along",
    "inference": "inference",
}
Profile = dict[str, float]


def profile(lines: Sequence[dict[str, Any]], client_ms: float) -> Profile:
    """Microseconds by stage; the values add up to the client's."""
    found = {
        title: statistics.fmean(line["timing_ms"].get(stage, 0.0) for line in lines) for stage, title in STAGES.items()
    }
    total = statistics.fmean(line["timing_ms"]["total"] for line in lines)
    edge = statistics.fmean(line["ms"] for line in lines)
    found["hand-over: to a worker thread and back, scores to labels"] = total - sum(found.values())
    found["respond and route: JSON, headers, middleware, metrics"] = edge - total
    found["server framework, sockets and the client itself"] = client_ms - edge
    found["the whole, as the client sees it"] = client_ms
    return {title: value * 1e3 for title, value in found.items()}


def access_lines(log: Path, skip: int) -> list[dict[str, Any]]:
    """The access log's lines on right answers, from byte ``skip`` on."""
    with log.open("rb") as file:
        file.seek(skip)
        found = [json.loads(line) for line in file if line.startswith(b'{"time"')]
    return [line for line in found if line["status"] == 200 and line["timing_ms"]]


def _settle(server: Server) -> None:
    until = time.perf_counter() + 10
    while server.busy() and time.perf_counter() < until:
        pass


def table(profiles: dict[int, Profile]) -> str:
    """Markdown, one column for each number of connections."""
    heads = "".join(f" {count} connection{'s' * (count > 1)} |" for count in profiles)
    lines = [f"| microseconds a request |{heads}", f"|---|{'---:|' * len(profiles)}"]
    for title in next(iter(profiles.values())):
        lines.append(f"| {title} |" + "".join(f" {each[title]:,.0f} |" for each in profiles.values()))
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve, load, read the log, print the table."""
    parser = argparse.ArgumentParser(prog="benchmarks.serving.profile", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--network", default="int8", choices=("int8", "float32", "keras"))
    parser.add_argument("--backbone", default=BACKBONE, help="whose architecture; the weights are random")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--photograph", default="640x480", choices=("640x480", "12MP"))
    parser.add_argument("--port", type=int, default=4298)
    parser.add_argument("--state", type=Path, default=ROOT / ".catseye" / "bench", help="where the model is kept")
    options = parser.parse_args(arguments)
    check_wrk()
    model = stored_model(options.state, options.backbone)
    ours = next(each for each in contestants() if each.name == OURS and each.network == options.network)
    with tempfile.TemporaryDirectory(prefix="catseye-profile-") as folder:
        scratch = Path(folder)
        file = write_photographs(scratch)[options.photograph]
        environment = ours.environment({}, model.path, options.state.absolute(), options.port)
        log = scratch / "server.log"
        command = ours.command("", options.port)
        with start(command, environment, options.port, ours.ready, log, scratch) as server:
            load = Load(options.port, ours.path, file, "image/jpeg")
            closed(load, 16, 2)
            profiles, said = {}, []
            for connections in options.connections:
                _settle(server)  # what earlier clients left behind is not this measurement's
                before, used = log.stat().st_size, server.processor_seconds()
                outcome = closed(load, connections, options.seconds)
                lines = access_lines(log, before)
                used = (server.processor_seconds() - used) / len(lines) * 1e3
                said.append(
                    f"{connections} at once: {outcome.rate:.1f} images a second, {used:.1f} ms of a processor each"
                )
                profiles[connections] = profile(lines, connections / outcome.rate * 1e3)
    print(f"{this_machine().processor}, {options.backbone}, {options.network}, {options.photograph}\n")
    print(f"{table(profiles)}\n")
    print("\n".join(said))


if __name__ == "__main__":
    main()
