"""``make demo``: a solar-cell classifier from the ELPV photographs, trained once and then reused."""

import shutil
import sys
import time
from pathlib import Path
from typing import Any

from models.environment import import_tensorflow
from models.errors import BadData, CatseyeError
from models.store import store
from models.store.store import StoredModel
from training.config import TrainSettings, catseye_home
from training.examples.elpv import CAVEAT, LICENCE, TEST_CELLS, Cell, fetch_cells, write_table
from training.report.console import console, print_metrics

NAME = "solar-cells"
SAMPLES = "samples"
SETTINGS = TrainSettings(
    name=NAME,
    backbone="mobilenet_v2",
    weights="auto",
    # Fine-tuning gains some points (docs/results.md) and takes seven minutes. The demo is to be served before that.
    freeze="head",
    mirror="all",
    l2=0.01,
    seed=0,
)
DATA_SHA256 = "599ea48f937433e26efb1c13ff85e1c065ca9f72a0ee2f1a62821509bf8d90f7"
"""Fingerprint of the photographs and labels that the demo trains on: those of the one package that is accepted."""
_SURE = {0.0: 0.02, 1 / 3: 0.25, 2 / 3: 0.75, 1.0: 0.98}
"""The target for each labelled probability of a defect: experts who were unsure are not to be learnt as sure."""


def main() -> int:
    """Make sure that the demo's classifier is in the store; the process's exit status."""
    try:
        stored = existing()
        if stored is None:
            stored = train_demo()
        elif not (catseye_home() / SAMPLES).is_dir():
            # The store is the user's, the samples are the folder's that the demo is started in.
            leave_samples(photographs()[1])
    except CatseyeError as error:
        console.print(f"Error: {error.detail}", style="red", markup=False)
        return 1
    if stored.card.metrics is not None:
        console.print(f"{stored.tag} on {stored.card.metrics.images} test cells:")
        print_metrics(stored.card.metrics, stored.card.labels)
    console.print(CAVEAT, LICENCE, sep="\n")
    return 0


def existing() -> StoredModel | None:
    """The demo's model if the store has one that was trained as this version does it, on the same photographs."""
    wanted = (SETTINGS.as_dict(), DATA_SHA256)
    return next((model for model in store.list_models(NAME) if _made_by(model) == wanted), None)


def _made_by(model: StoredModel) -> tuple[dict[str, object], str | None]:
    return model.card.settings, model.card.data.sha256 if model.card.data else None


def train_demo() -> StoredModel:
    """Fetch the photographs, train, store, and put a few test cells where they can be tried."""
    import_tensorflow()
    from training.pipeline import train

    start = time.monotonic()
    console.print(LICENCE)
    table, tested = photographs()
    stored = train(table, SETTINGS, reading=_reading())
    leave_samples(tested)
    console.print(f"Trained and stored in {time.monotonic() - start:.0f} s.")
    return stored


def photographs() -> tuple[Path, list[tuple[Path, str]]]:
    """The demo's table, fetched if need be, and path and label of every cell that it examines."""
    from training.data.dataset import read_dataset

    table = cells_table(fetch_cells(), catseye_home() / "data" / "solar-cells.csv")
    dataset = read_dataset(table, seed=SETTINGS.seed, quiet=True, **_reading())
    if dataset.fingerprint.sha256 != DATA_SHA256:
        raise BadData(f"The photographs beside {table} were changed. Remove that folder, and they are fetched anew.")
    return table, [(sample.path, dataset.labels[sample.label]) for sample in dataset.test]


def _reading() -> dict[str, Any]:
    from training.data.dataset import Fractions

    return {"test_size": TEST_CELLS, "fractions": Fractions(validation=0.1)}


def cells_table(cells: list[Cell], path: Path) -> Path:
    """The table of the demo: defective at a probability of a half and more, with soft targets."""
    rows: list[dict[str, object]] = []
    for cell in cells:
        defective = next(target for known, target in _SURE.items() if abs(known - cell.probability) < 0.1)
        rows.append(
            {
                "path": cell.path,
                "label": "defective" if cell.probability >= 0.5 else "functional",
                "stratum": cell.stratum,
                "target:defective": defective,
                "target:functional": 1 - defective,
            }
        )
    return write_table(path, rows)


def leave_samples(tested: list[tuple[Path, str]], each: int = 2) -> list[Path]:
    """Copy the first test images of every label to ``CATSEYE_HOME/samples``; their new paths."""
    folder = catseye_home() / SAMPLES
    folder.mkdir(parents=True, exist_ok=True)
    left = []
    for label in sorted({label for _, label in tested}):
        paths = [path for path, of in tested if of == label][:each]
        for number, path in enumerate(paths, start=1):
            left.append(folder / f"{label}-{number}{path.suffix}")
            shutil.copyfile(path, left[-1])
    return left


if __name__ == "__main__":
    sys.exit(main())
