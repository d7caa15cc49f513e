"""``python -m benchmarks.serving``: this service beside its peers, by turns in one run (``make bench``)."""

import argparse
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.serving import chart, report, rows
from benchmarks.serving.load import check_wrk
from benchmarks.serving.model import stored_model
from benchmarks.serving.photographs import write_photographs
from benchmarks.serving.run import Run, Shape, read_chosen, say, write_chosen
from benchmarks.serving.servers import ROOT
from service.inference.execution_plan import this_machine


def machine_name() -> str:
    """Processor, how many of it, and the month."""
    here = this_machine()
    return f"{here.processor}, {here.processors} processors, {datetime.now(UTC):%B %Y}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the report, keep the rows, draw the chart."""
    parser = argparse.ArgumentParser(prog="benchmarks.serving", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round without a sweep; nothing is kept")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each turn")
    parser.add_argument("--sweep-only", action="store_true", help="find the peers' best settings and keep them")
    parser.add_argument("--peers", default=str(ROOT / ".bench-venv" / "bin" / "python"), help="the peers' Python")
    parser.add_argument("--port", type=int, default=4200, help="first of about a hundred ports")
    parser.add_argument("--state", type=Path, default=ROOT / ".catseye" / "bench", help="model and chosen settings")
    parser.add_argument("--csv", type=Path, default=Path(__file__).with_name("results.csv"))
    parser.add_argument("--chart", type=Path, default=ROOT / "docs" / "images" / "serving.png")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are ended, whatever ends this
    check_wrk()
    check_peers(options.peers)
    shape = Shape(rounds=options.rounds, seconds=options.seconds, base_port=options.port)
    if options.quick:
        shape = Shape(rounds=1, seconds=1, connections=(1, 16), sweep=False, paced=False, base_port=options.port)
    machine, kept = machine_name(), options.state / "chosen.json"
    model = stored_model(options.state)
    with tempfile.TemporaryDirectory(prefix="catseye-bench-") as folder:
        scratch = Path(folder)
        run = Run(shape, options.peers, model, write_photographs(scratch), scratch, options.state.absolute())
        say("Settings: this service's by catseye tune, the peers' by a sweep")
        keep = (lambda chosen: None) if options.quick else (lambda chosen: write_chosen(kept, machine, chosen))
        chosen = run.sweep(read_chosen(kept, machine), keep)
        if options.sweep_only:
            return
        say("Turns")
        try:
            run.turns(chosen)
        finally:  # a run that is cut short has measured something all the same
            print(report.report(run.rows, machine))
            rows.write_rows(run.rows, options.state / "last.csv", machine)
    if not options.quick:
        versions = ", ".join(f"{name} {version(name)}" for name in ("bentoml", "openvino", "tensorflow"))
        rows.write_rows(run.rows, options.csv, f"{machine}; {versions}")
        chart.draw(run.rows, machine, options.chart)
        say(f"Kept in {options.csv} and {options.chart}.")


def check_peers(python: str) -> None:
    """End with a sentence where the peers' environment cannot serve."""
    needed = "import bentoml, fastapi, litserve, mosec, openvino, tensorflow, uvicorn"
    if not Path(python).exists() or subprocess.run([python, "-c", needed], capture_output=True).returncode:
        raise SystemExit(
            f"{python} cannot run the peers. `make bench` makes that environment; or install "
            "benchmarks/serving/requirements.txt in one and name it with --peers."
        )


if __name__ == "__main__":
    sys.exit(main())
