"""What int8 costs on the demo, over five splits: ``python -m benchmarks.precision [--seeds 3]``.

Each seed is a split and a training of its own (``make demo``'s settings, 656 test cells). Float32 and the int8 that
would serve, or else be refused, answer the same cells; the drop is paired by seed. Some two minutes a seed on two
cores once the features are cached.
"""

import argparse
import os
import tempfile

import numpy as np

from benchmarks.elpv import SEEDS, spread
from models.environment import before_tensorflow
from training.config import catseye_home
from training.examples.solar_cells import CAVEAT, LICENCE, SETTINGS, TEST_CELLS, cells_table, fetch_cells


def main() -> None:
    """Train, quantise and measure each seed; print the table and the mean drop with its 95 % interval."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="how many of the five to run")
    options = parser.parse_args()
    before_tensorflow()
    from training.data.dataset import Fractions, read_dataset
    from training.pipeline import learn
    from training.publish.publish import publish
    from training.runs import new_run

    data = cells_table(fetch_cells(), catseye_home() / "data" / "solar-cells.csv")
    lines, found = [], []
    with tempfile.TemporaryDirectory() as store:
        os.environ["BENTOML_HOME"] = store
        for seed in SEEDS[: options.seeds]:
            settings = SETTINGS.with_changes(name="precision", seed=seed)
            fractions = Fractions(validation=0.1)
            dataset = read_dataset(data, seed=seed, test_size=TEST_CELLS, fractions=fractions, quiet=True)
            card = publish(learn(dataset, settings, new_run(settings, data))).card
            plain, rounded = (export.accuracy or 0.0 for export in card.exports)
            found.append((plain, rounded))
            drop = 100 * (plain - rounded)
            lines.append(f"| {seed} | {plain:.2%} | {rounded:.2%} | {drop:+.2f} | {card.served_precision} |")
    print("| seed | float32 | int8 | drop, points | serves |\n|---|---:|---:|---:|---|", *lines, sep="\n")
    plain, rounded = np.array(found).T
    print(f"Means: float32 {spread(plain)}, int8 {spread(rounded)}, drop {spread(plain - rounded, sign='+')} points.")
    print(CAVEAT, LICENCE, sep="\n")


if __name__ == "__main__":
    main()
