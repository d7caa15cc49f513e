"""``make demo``: a solar-cell classifier from the ELPV photographs, trained once and then reused.

The 2,624 electroluminescence images of solar cells (Buerhop-Lutz et al. 2018, Deitsch et al. 2019) are licensed
CC BY-NC-SA 4.0, so they are downloaded from the package that ships them and kept beside the caches. The package does
not say which module a cell is from, so cells of one module may be on both sides of any split.
"""

import csv
import io
import shutil
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.environment import import_tensorflow
from models.errors import BadData, CatseyeError
from models.files import write_whole
from models.network.downloads import NoWheel, download_wheel
from models.store import store
from models.store.store import StoredModel
from training.config import TrainSettings, catseye_home
from training.console import console, print_metrics

PACKAGE, VERSION = "elpv-dataset", "1.0.0.post1"
WHEEL_SHA256 = "85e31c1126ee9b48e62d3a0232c58f58b2d189b0814a45c13642fa0415af4a4c"
LICENCE = "The ELPV images are licensed CC BY-NC-SA 4.0: not for commercial use."
CAVEAT = "Random split of cells: the data do not say which module a cell is from, so modules may leak."
LABELS = ("defective", "functional")
TEST_CELLS = 656
_TABLE = "cells.csv"
_INSIDE = "elpv_dataset/data/"

NAME = "solar-cells"
SAMPLES = "samples"
SETTINGS = TrainSettings(
    name=NAME,
    backbone="mobilenet_v2",
    weights="auto",
    # Fine-tuning gains some points (docs/lab/solar-cells.md), but takes seven minutes.
    freeze="head",
    mirror="all",
    l2=0.01,
    seed=0,
)
DATA_SHA256 = "599ea48f937433e26efb1c13ff85e1c065ca9f72a0ee2f1a62821509bf8d90f7"
"""Fingerprint of the photographs and labels that the demo trains on: those of the one accepted package."""
_TARGETS = {0.0: 0.02, 1 / 3: 0.25, 2 / 3: 0.75, 1.0: 0.98}
"""The training target for each labelled probability of a defect: softer where the experts were unsure."""


@dataclass(frozen=True)
class Cell:
    """One photograph: its file, the probability of a defect (0, 1/3, 2/3 or 1) and ``mono`` or ``poly``."""

    path: Path
    probability: float
    kind: str

    @property
    def stratum(self) -> str:
        """What the split is stratified by."""
        return f"{self.kind} {self.probability:.2f}"


def main() -> int:
    """Train the demo's classifier unless the store has it; the process's exit status."""
    try:
        stored = existing()
        if stored is None:
            train_demo()
        else:
            if not (catseye_home() / SAMPLES).is_dir():
                # The store belongs to the user, the samples to the folder that the demo is started in.
                copy_samples(photographs()[1])
            console.print(f"{stored.tag} is in the store already:")
            if stored.card.metrics is not None:
                print_metrics(stored.card.metrics, stored.card.labels)
    except CatseyeError as error:
        console.print(f"Error: {error.detail}", style="red", markup=False)
        return 1
    console.print(CAVEAT, LICENCE, sep="\n")
    return 0


def existing() -> StoredModel | None:
    """The demo's model if the store has one that was trained as this version does it, on the same photographs."""
    wanted = (SETTINGS.as_dict(), DATA_SHA256)
    return next((model for model in store.list_models(NAME) if _made_by(model) == wanted), None)


def _made_by(model: StoredModel) -> tuple[dict[str, object], str | None]:
    return model.card.settings, model.card.data.sha256 if model.card.data else None


def train_demo() -> StoredModel:
    """Download the photographs, train, store, and copy a few test cells to try."""
    import_tensorflow()
    from training.pipeline import train

    start = time.monotonic()
    console.print(LICENCE)
    table, tested = photographs()
    stored = train(table, SETTINGS, reading=_reading())
    copy_samples(tested)
    console.print(f"Trained and stored {stored.tag} in {time.monotonic() - start:.0f} s.")
    return stored


def photographs() -> tuple[Path, list[tuple[Path, str]]]:
    """The demo's table, downloaded if need be, and path and label of every test cell."""
    from training.data.dataset import read_dataset

    table = cells_table(fetch_cells(), catseye_home() / "data" / "solar-cells.csv")
    dataset = read_dataset(table, seed=SETTINGS.seed, quiet=True, **_reading())
    if dataset.fingerprint.sha256 != DATA_SHA256:
        raise BadData(f"The photographs beside {table} were changed. Remove that folder to have them downloaded again.")
    return table, [(sample.path, dataset.labels[sample.label]) for sample in dataset.test]


def _reading() -> dict[str, Any]:
    from training.data.dataset import Fractions

    return {"test_size": TEST_CELLS, "fractions": Fractions(validation=0.1)}


def cells_table(cells: list[Cell], path: Path) -> Path:
    """The demo's table: defective from a probability of 1/2 on, with soft targets."""
    rows: list[dict[str, object]] = []
    for cell in cells:
        defective = next(target for known, target in _TARGETS.items() if abs(known - cell.probability) < 0.1)
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


def copy_samples(tested: list[tuple[Path, str]], each: int = 2) -> list[Path]:
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


def fetch_cells() -> list[Cell]:
    """Every cell, downloaded and checked by its hash the first time.

    Raises BadData where the package cannot be had or is not the one that is known.
    """
    folder = catseye_home() / "data" / f"elpv-{VERSION}"
    if not folder.is_dir():
        _install(folder)
    table = (folder / "labels.csv").read_text("utf-8")
    return [_cell(folder, line) for line in table.splitlines() if line.strip()]


def write_table(path: Path, rows: Iterable[dict[str, object]]) -> Path:
    """A CSV for ``read_dataset`` with the columns of the first row."""
    rows = list(rows)
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, text.getvalue().encode())
    return path


def _cell(folder: Path, line: str) -> Cell:
    path, probability, kind = line.split()
    # The table rounds thirds to two digits or more, depending on its version.
    return Cell(folder / path, round(float(probability) * 3) / 3, kind)


def _install(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        try:
            wheel = download_wheel(f"{PACKAGE}=={VERSION}", WHEEL_SHA256, Path(scratch))
        except NoWheel as error:
            raise BadData(f"{PACKAGE} {VERSION} cannot be downloaded: {error}. Check pip's index.") from error
        _unpack(wheel, Path(scratch, "elpv"))
        try:
            Path(scratch, "elpv").rename(folder)
        except OSError:
            if not folder.is_dir():  # Another process may have been faster.
                raise


def _unpack(wheel: Path, folder: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.startswith(_INSIDE) and not name.endswith("/"):
                target = folder / name.removeprefix(_INSIDE)
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(name) as source, target.open("wb") as file:
                    shutil.copyfileobj(source, file)


if __name__ == "__main__":
    sys.exit(main())
