"""Accuracy on ELPV beside the published figures: ``python -m benchmarks.elpv [--seeds 3] [--ways probe tuned]``.

Deitsch et al. 2019: 656 test cells, the split stratified by probability and cell type; every cell that may be
defective counts as defective, in training with its probability (1/3, 2/3 or 1) as weight. They report 82.44 %
(support vector machine) and 88.42 % (fine-tuned VGG-19), on one split. Here: five seeds, each a split of its own,
and five ways that each add one thing to another, so that every gain is measured on its own:

probe      MobileNetV2 frozen, its head trained on the training cells
flips      the same with the four flips of every training cell: augmentation
tuned      the whole network trained too: fine-tuning
tta        test-time augmentation: the tuned network's mean logits of a test cell's four flips (four times the work)
distilled  a network trained as the tuned one is, on the labels and on the tuned network's averaged logits

All 1,968 other cells train; where the rate and the number of epochs come from is in docs/lab/solar-cells.md.

How unsure cells are scored changes every figure, so there are three scorings. ``unweighted``: each test cell
counts once, defective if it may be. ``weighted``: the same with the weights of training. ``majority``: a cell is
defective from a probability of 1/2 on, each counts once. Rows that the CSV has already are not run again.
"""

import argparse
import csv
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np

from models.environment import before_tensorflow
from models.store import store
from training.config import TrainSettings, catseye_home
from training.examples.solar_cells import CAVEAT, LICENCE, TEST_CELLS, fetch_cells, write_table

SEEDS = (11, 23, 37, 53, 71)
WAYS = ("probe", "flips", "tuned", "tta", "distilled")
ADDS_TO = {"flips": "probe", "tuned": "flips", "tta": "tuned", "distilled": "tuned"}
"""What each way is compared with."""
SCORINGS = ("weighted", "majority", "unweighted")
MEASURES = ("accuracy", "balanced", "macro_f1", "auc")
PARTS = ("all", "mono", "poly")
RESULTS = Path(__file__).with_name("elpv.csv")
PUBLISHED = "Published (Deitsch et al. 2019): SVM 82.44 %, fine-tuned VGG-19 88.42 %."
COLUMNS = ("way", "seed", "cells", "scoring", "images", *MEASURES, "seconds", "cpu_seconds")

PROBE = TrainSettings(name="elpv", size=224, freeze="head", mirror="none", l2=0.01, int8="off")
FLIPPED = PROBE.with_changes(mirror="all")
TUNED = FLIPPED.with_changes(freeze="none", head_epochs=10, slower=50)


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


def run(data: Path, seed: int, wanted: Sequence[str]) -> Iterator[list[dict[str, object]]]:
    """The rows of one way after the other on one split; ``tta`` comes with ``tuned``."""
    from models.runtime.open import open_runtime
    from training.data.dataset import Fractions, read_dataset
    from training.evaluate.metrics import logits_of
    from training.features.cached_augmentation import FLIPS, flipped
    from training.pipeline import learn
    from training.publish.publish import export_outcome, publish
    from training.runs import new_run

    nothing_held_out = Fractions(validation=0)
    dataset = read_dataset(data, seed=seed, test_size=TEST_CELLS, fractions=nothing_held_out, quiet=True)
    for way, settings in (("probe", PROBE), ("flips", FLIPPED), ("tuned", TUNED), ("distilled", TUNED)):
        if way not in wanted and not (way == "tuned" and "distilled" in wanted and taught_by(seed) is None):
            continue
        clock = stopwatch()
        teacher = taught_by(seed) if way == "distilled" else None
        settings = settings.with_changes(name=f"elpv-{way}-{seed}", seed=seed, teacher=teacher)
        outcome = learn(dataset, settings, new_run(settings, data))
        spent = clock()
        views = FLIPS["all"] if way == "tuned" else FLIPS["none"]
        with (
            export_outcome(outcome) as model,
            closing(open_runtime(model, precision="float32", hint="throughput")) as runtime,
        ):
            by_view = [logits_of(runtime, dataset.test, model.card, partial(flipped, flip=view)) for view in views]
        if way == "tuned":
            publish(outcome)  # as the teacher of ``distilled``, which may be run another day
            averaged = np.mean(by_view, axis=0)
            yield [{"way": "tta", "seed": seed, **row, **spent} for row in scores(averaged, dataset.test)]
        yield [{"way": way, "seed": seed, **row, **spent} for row in scores(by_view[0], dataset.test)]


def taught_by(seed: int) -> str | None:
    """The tag of the tuned network of that seed, if the store has it with these settings."""
    name = f"elpv-tuned-{seed}"
    wanted = TUNED.with_changes(name=name, seed=seed).as_dict()
    stored = [model for model in store.list_models(name) if model.card.settings == wanted]
    return stored[0].tag if stored else None


def stopwatch() -> Callable[[], dict[str, object]]:
    """Seconds since now, by the clock and of the processor; on a busy machine they differ."""
    start, used = time.monotonic(), time.process_time()
    return lambda: {
        "seconds": round(time.monotonic() - start),
        "cpu_seconds": round(time.process_time() - used),
    }


def scores(logits: np.ndarray, samples) -> Iterator[dict[str, object]]:
    """Figures for all cells, mono and poly in every scoring; column 0 of ``logits`` is ``defective``."""
    kinds, probabilities = zip(*(sample.stratum.split() for sample in samples), strict=True)
    probability, margin = np.array(probabilities, float), logits[:, 0] - logits[:, 1]
    for part in PARTS:
        here = np.array([part in ("all", kind) for kind in kinds])
        for scoring in SCORINGS:
            yield {"cells": part, "scoring": scoring, "images": int(here.sum())} | figures(
                margin[here], probability[here], scoring
            )


def figures(margin: np.ndarray, probability: np.ndarray, scoring: str) -> dict[str, object]:
    """Accuracy, balanced accuracy, macro-F1 and area under the ROC curve in one scoring."""
    from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, roc_auc_score

    truth = probability >= 0.5 if scoring == "majority" else probability > 0
    weights = np.where(probability > 0, probability, 1.0) if scoring == "weighted" else None
    said = margin > 0
    found = {
        "accuracy": accuracy_score(truth, said, sample_weight=weights),
        "balanced": balanced_accuracy_score(truth, said, sample_weight=weights),
        "macro_f1": f1_score(truth, said, sample_weight=weights, average="macro"),
        "auc": roc_auc_score(truth, margin, sample_weight=weights),
    }
    return {name: round(float(value), 5) for name, value in found.items()}


def main() -> None:
    """Run what the CSV has not got yet; print means over seeds, their 95 % intervals and what each step gains."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="how many of the five to run")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="which ways to run")
    options = parser.parse_args()
    before_tensorflow()
    data, rows = table(), known()
    for seed in SEEDS[: options.seeds]:
        missing = [way for way in options.ways if not any(row["way"] == way and row["seed"] == seed for row in rows)]
        for fresh in run(data, seed, ["tuned" if way == "tta" else way for way in missing]):
            rows = [row for row in rows if (row["way"], row["seed"]) != (fresh[0]["way"], seed)] + fresh
            write_table(RESULTS, rows)
    for line in report(rows):
        print(line)
    print(PUBLISHED, CAVEAT, LICENCE, sep="\n")


def known() -> list[dict[str, object]]:
    """The rows of the CSV."""
    if not RESULTS.exists():
        return []
    with RESULTS.open(newline="") as file:
        texts = {"way", "cells", "scoring"}
        return [
            {key: value if key in texts else float(value) if "." in value else int(value) for key, value in row.items()}
            for row in csv.DictReader(file)
        ]


def report(rows: Sequence[dict[str, object]]) -> Iterator[str]:
    """Markdown: every way, part and scoring; then the gain of each step, paired by seed; then the time."""
    yield "| scoring | cells | way | seeds | accuracy | balanced | macro-F1 | AUC |\n|---|---|---|---|---|---|---|---|"
    for scoring in SCORINGS:
        for part in PARTS:
            for way in WAYS:
                found = by_seed(rows, way, scoring, part)
                if found:
                    cells = " | ".join(spread([row[m] for row in found.values()]) for m in MEASURES)
                    yield f"| {scoring} | {part} | {way} | {len(found)} | {cells} |"
    yield "\n| gain in accuracy, points | " + " | ".join(SCORINGS) + " |\n|---|" + "---|" * len(SCORINGS)
    for after, before in ADDS_TO.items():
        pairs = [(by_seed(rows, before, scoring, "all"), by_seed(rows, after, scoring, "all")) for scoring in SCORINGS]
        gains = [[b[seed]["accuracy"] - a[seed]["accuracy"] for seed in sorted(a.keys() & b.keys())] for a, b in pairs]
        if all(gains):
            yield f"| {after} after {before} | " + " | ".join(spread(gain, sign="+") for gain in gains) + " |"
    for way in ("probe", "flips", "tuned", "distilled"):
        found = by_seed(rows, way, "unweighted", "all").values()
        if found:
            wall, cpu = (np.mean([row[key] for row in found]) for key in ("seconds", "cpu_seconds"))
            yield f"{way}: {wall:.0f} s a seed by the clock, {cpu:.0f} s of processor time."


def by_seed(rows: Sequence[dict[str, object]], way: str, scoring: str, cells: str) -> dict[object, dict[str, object]]:
    """Seed -> row."""
    wanted = (way, scoring, cells)
    return {row["seed"]: row for row in rows if (row["way"], row["scoring"], row["cells"]) == wanted}


def spread(values: Sequence[object], sign: str = "") -> str:
    """Mean over seeds in percent, and the half-width of its 95 % interval (Student's t)."""
    from scipy.stats import t

    found = 100 * np.array(values, float)
    if len(found) < 2:
        return f"{found.mean():{sign}.1f} (one seed)"
    half = t.ppf(0.975, len(found) - 1) * found.std(ddof=1) / np.sqrt(len(found))
    return f"{found.mean():{sign}.1f} ±{half:.1f}"


if __name__ == "__main__":
    main()
