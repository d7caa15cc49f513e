"""Accuracy on ELPV beside the published figures: ``python benchmarks/elpv.py [--seeds 3]``.

Deitsch et al. 2019: 656 test cells, the split stratified by probability and cell type; every cell that may be
defective counts as defective, in training with its probability (1/3, 2/3 or 1) as weight. They report 82.44 %
(support vector machine) and 88.42 % (fine-tuned VGG-19), on one split. Here: five seeds, each a split and a run
of its own, the head alone (the frozen probe) beside fine-tuning.
"""

import argparse
import csv
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from models.runtime import open_runtime
from training.config import Freeze, TrainSettings, catseye_home, quiet_tensorflow
from training.elpv import CAVEAT, LICENCE, TEST_CELLS, fetch_cells, write_table

SEEDS = (11, 23, 37, 53, 71)
RESULTS = Path(__file__).with_name("elpv.csv")
PUBLISHED = "Published (Deitsch et al. 2019): SVM 82.44 %, fine-tuned VGG-19 88.42 %."
MEASURES = ("accuracy", "balanced", "macro_f1", "auc")


def table() -> Path:
    """The cells with the protocol's labels and weights."""
    rows: list[dict[str, object]] = [
        {
            "path": cell.path,
            "label": "defective" if cell.probability else "functional",
            "weight": cell.probability or 1.0,
            "stratum": cell.stratum,
        }
        for cell in fetch_cells()
    ]
    return write_table(catseye_home() / "data" / "elpv-deitsch.csv", rows)


def run(data: Path, seed: int, freeze: Freeze) -> list[dict[str, object]]:
    """Train once; one row of figures for all cells, mono and poly."""
    from training.dataset import labels_of, read_dataset
    from training.keep import logits_of
    from training.train import train

    start = time.monotonic()
    settings = TrainSettings(name="elpv", freeze=freeze, mirror="all", l2=0.01, seed=seed)
    stored = train(data, settings, reading={"test_size": TEST_CELLS, "quiet": True})
    seconds = time.monotonic() - start
    samples = read_dataset(data, seed=seed, test_size=TEST_CELLS, quiet=True).test
    runtime = open_runtime(stored, hint="throughput")
    logits, truth = logits_of(runtime, samples, stored.card), labels_of(samples)
    runtime.close()
    kinds = np.array([sample.stratum.partition(" ")[0] for sample in samples])
    parts = {"all": np.ones(len(samples), bool), "mono": kinds == "mono", "poly": kinds == "poly"}
    return [
        {"freeze": freeze, "seed": seed, "cells": name, "seconds": round(seconds)}
        | figures(logits[part], truth[part], stored.card.labels)
        for name, part in parts.items()
    ]


def figures(logits: np.ndarray, truth: np.ndarray, labels: Sequence[str]) -> dict[str, object]:
    """Accuracy, balanced accuracy, macro-F1 and area under the ROC curve."""
    from training.evaluation import evaluate, roc_auc

    metrics = evaluate(logits, truth, labels)
    return {
        "accuracy": metrics.accuracy,
        "balanced": metrics.balanced_accuracy,
        "macro_f1": metrics.macro_f1,
        "auc": roc_auc(logits, truth),
    }


def main() -> None:
    """Run the seeds, print mean and 95 % interval of the mean, keep every figure in a CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="how many of the five to run")
    parser.add_argument("--freeze", nargs="+", default=["head", "few"], help="ways to freeze, side by side")
    options = parser.parse_args()
    quiet_tensorflow()
    data, rows = table(), []
    for freeze in options.freeze:
        for seed in SEEDS[: options.seeds]:
            rows += run(data, seed, freeze)
    with RESULTS.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    for freeze in options.freeze:
        for cells in ("all", "mono", "poly"):
            chosen = [row for row in rows if row["freeze"] == freeze and row["cells"] == cells]
            print(f"{freeze:5} {cells:5} " + "  ".join(spread(chosen, measure) for measure in MEASURES))
    print(PUBLISHED, CAVEAT, LICENCE, sep="\n")


def spread(rows: Sequence[dict[str, object]], measure: str) -> str:
    """Mean over seeds and the half-width of its 95 % interval (Student's t)."""
    from scipy.stats import t

    values = np.array([row[measure] for row in rows], float)
    if len(values) < 2:
        return f"{measure} {values.mean():.4f} (one seed)"
    half = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return f"{measure} {values.mean():.4f} +-{half:.4f}"


if __name__ == "__main__":
    main()
