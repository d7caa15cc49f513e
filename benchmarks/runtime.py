"""The runtimes side by side on MobileNetV2: images per second, each beside TensorFlow's of the same run.

    python -m benchmarks.runtime [--seconds 0.5] [--rounds 3]

Inference alone, random weights, 224 pixels, uint8 in, logits out. The cases take turns within a round, so that
a noisy machine is noisy for all; the table shows medians over rounds.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.card import Card, Precision, WeightsProvenance
from models.export.head import write_head
from models.export.int8 import quantize
from models.export.openvino import export_openvino
from models.network.classifier import build_classifier, head_arrays
from models.runtime.base import Kind, Runtime
from models.runtime.open import open_runtime
from models.store.store import KERAS_FILE, StoredModel

SIZE = 224

RESIDENT = """
import sys
from pathlib import Path
import numpy as np
from models.card import Card
from models.runtime.open import open_runtime
from models.store.store import StoredModel
folder = Path(sys.argv[1])
card = Card.model_validate_json((folder / "card.json").read_text())
runtime = open_runtime(StoredModel("bench", "v1", folder, card), precision=sys.argv[2])
for outputs in (("logits",), runtime.outputs)[: int(sys.argv[3])]:
    runtime.run(np.zeros((1, *card.input_size, 3), np.uint8), outputs)
status = Path("/proc/self/status").read_text()
print(int(status.partition("VmRSS:")[2].split()[0]) // 1024)
"""


@dataclass(frozen=True)
class Case:
    """One line of the table."""

    title: str
    runtime: Runtime
    batch: int
    callers: int = 1
    outputs: tuple[str, ...] = ("logits",)


def make_model(folder: Path, backbone: str = "mobilenet_v2", spared: int = 0) -> StoredModel:
    """A network with random weights and both exports, as training leaves it; int8 spares so many convolutions."""
    classifier = build_classifier(backbone, 2, input_size=SIZE)
    classifier.model.save(folder / KERAS_FILE)
    write_head(folder, {"float32": head_arrays(classifier)})
    noise = np.random.default_rng(0).integers(0, 256, (4, SIZE, SIZE, 3), dtype=np.uint8)
    card = Card(
        name="bench",
        labels=("a", "b"),
        backbone=backbone,
        input_size=(SIZE, SIZE),
        weights=WeightsProvenance(source="none", detail="random"),
        taps=classifier.taps,
        head=classifier.head,
        exports=(export_openvino(classifier, folder), quantize(folder, list(noise), spared=spared)),
        parameters=classifier.model.count_params(),
    )
    (folder / "card.json").write_text(card.model_dump_json())
    return StoredModel("bench", "v1", folder, card)


def cases(model: StoredModel, sparing: StoredModel) -> list[Case]:
    """Every runtime and precision that this processor has, at batch 1, batch 8 and with two callers."""
    kinds: list[tuple[str, StoredModel, Kind, Precision]] = [
        ("TensorFlow", model, "tensorflow", "float32"),
        ("OpenVINO float32", model, "openvino", "float32"),
        ("OpenVINO bfloat16", model, "openvino", "bfloat16"),
        ("OpenVINO int8", model, "openvino", "int8"),
        ("OpenVINO int8, 5 spared", sparing, "openvino", "int8"),
    ]
    found = []
    for title, source, kind, precision in kinds:
        one = open_runtime(source, kind, precision=precision)
        if one.precision != precision:
            print(f"{title}: not on this processor")
            continue
        two = one if kind == "tensorflow" else open_runtime(source, kind, precision=precision, streams=2)
        found += [Case(title, one, 1), Case(title, one, 8), Case(title, two, 1, callers=2)]
    float32 = next(case.runtime for case in found if case.title == "OpenVINO float32")
    found.append(Case("  with the embedding", float32, 1, outputs=("logits", "embedding")))
    found.append(Case("  with all maps", float32, 1, outputs=float32.outputs))
    return found


def measure(case: Case, seconds: float) -> float:
    """Images per second."""
    images = np.random.default_rng(1).integers(0, 256, (case.batch, SIZE, SIZE, 3), dtype=np.uint8)
    done = [0] * case.callers
    begin = time.perf_counter()

    def work(caller: int) -> None:
        while time.perf_counter() - begin < seconds:
            case.runtime.run(images, case.outputs)
            done[caller] += case.batch

    _together(work, case.callers)
    return sum(done) / (time.perf_counter() - begin)


def _together(work: Callable[[int], None], callers: int) -> None:
    threads = [threading.Thread(target=work, args=(caller,)) for caller in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def resident(model: StoredModel, precision: Precision, runs: int) -> int:
    """Megabytes of a fresh process that serves the model: scores alone, or (``runs`` = 2) maps too."""
    command = [sys.executable, "-c", RESIDENT, str(model.path), precision, str(runs)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    return int(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description="The runtimes side by side on MobileNetV2.")
    parser.add_argument("--seconds", type=float, default=0.5, help="for each case in each round")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as other:
        model = make_model(Path(folder))
        table = cases(model, make_model(Path(other), spared=5))
        for case in table:  # each form of a network is compiled at its first run
            measure(case, 1e-3)
        rounds = [[measure(case, options.seconds) for case in table] for _ in range(options.rounds)]
        speeds = [statistics.median(column) for column in zip(*rounds, strict=True)]
        yardstick = speeds[0]
        print(f"{'':24}{'batch':>6}{'callers':>8}{'images/s':>10}{'x TensorFlow batch 1':>22}")
        for case, speed in zip(table, speeds, strict=True):
            ratio = speed / yardstick
            print(f"{case.title:24}{case.batch:>6}{case.callers:>8}{speed:>10.1f}{ratio:>22.2f}")
        for precision in ("float32", "int8"):
            scores, maps = (resident(model, precision, runs) for runs in (1, 2))
            print(f"resident memory, OpenVINO {precision}: {scores} MB, {maps} MB once maps were asked for")


if __name__ == "__main__":
    main()
