"""Classification without a server: files and folders in, one result for each file out."""

import csv
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

import orjson

from models.arrays import softmax
from models.errors import BadImage, BadParameter, CatseyeError, TooLarge, UnknownModel
from models.image.decode import decode
from models.runtime.base import Outputs
from models.store import store
from models.store.store import StoredModel
from service.inference.execution_plan import processors
from service.inference.registry import no_fast_variant
from service.inference.served_model import ServedModel
from service.inference.tuning import plan_for
from service.settings import Settings

SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"})
TableFormat = Literal["jsonl", "csv"]


@dataclass(frozen=True)
class Result:
    """The labels of one file, or what was wrong with it."""

    path: Path
    predictions: list[dict[str, Any]] = field(default_factory=list)
    error: CatseyeError | None = None


def find_files(paths: Sequence[Path]) -> list[Path]:
    """The named files, and every image file in the named folders, in order; ``BadParameter`` if there are none."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = (file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
            found.extend(sorted(inside))
        else:
            found.append(path)
    if not found:
        names = ", ".join(str(path) for path in paths)[:200]
        raise BadParameter(f"There is no image in {names}. Name image files, or a folder that holds some.")
    return found


def find_model(name: str | None, version: str | None = None, *, fast: bool = False) -> StoredModel:
    """The stored model, by default the one stored last; with ``fast`` its fast variant."""
    if name is None:
        wanted = (model for model in store.list_models() if model.card.variant_of is None)
        newest = next(wanted, None)
        if newest is None:
            raise UnknownModel("The store has no model. Train one with `catseye train DIR --name NAME`.")
        name = newest.name
    if not fast:
        return store.get(f"{name}:{version or 'latest'}")
    for model in store.list_models():
        if model.card.variant_of == name and version in (None, model.version):
            return model
    raise no_fast_variant(name)


def load(model: StoredModel, settings: Settings, *, cores: int | None = None) -> ServedModel:
    """The model, ready to run by its measured plan, else by the default one; in so many processor cores, if given."""
    return ServedModel(model, settings, plan_for(model, settings, 0), cores)


def read(path: Path, settings: Settings) -> bytes:
    """A file's bytes; ``BadImage`` or ``TooLarge``, naming what to do, where it cannot be read."""
    try:
        with path.open("rb") as file:
            data = file.read(settings.max_body_bytes + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise BadImage(f"{path} cannot be read ({reason}). Check its name and its permissions.") from error
    if len(data) > settings.max_body_bytes:
        raise TooLarge(
            f"{path} has over {settings.max_body_bytes:,} bytes. Save it smaller, or raise CATSEYE_MAX_BODY_MB."
        )
    return data


def run(served: ServedModel, data: bytes, settings: Settings, outputs: Sequence[str] = ("logits",)) -> Outputs:
    """The network's outputs for one image file, without the batch dimension."""
    pixels = decode(data, served.card.input_size, settings.limits)
    return {name: value[0] for name, value in served.run(pixels[None], outputs).items()}


def predictions(served: ServedModel, outputs: Outputs, top_k: int) -> list[dict[str, Any]]:
    """The most probable labels with their calibrated probabilities, as ``ServedModel.top`` gives them."""
    return served.top(softmax(outputs["logits"], served.card.temperature), top_k)


def classify(
    served: ServedModel, files: Iterable[Path], settings: Settings, top_k: int, *, threads: int | None = None
) -> Iterator[Result]:
    """A result for each file, in order, going on after bad files; by default in a thread for each processor."""
    threads = threads or processors()

    def one(path: Path) -> Result:
        try:
            return Result(path, predictions(served, run(served, read(path, settings), settings), top_k))
        except CatseyeError as error:
            return Result(path, error=error)

    # Few at a time: a folder of a million files must not become a million waiting results.
    pending: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads, "catseye-offline") as pool:
        for path in files:
            pending.append(pool.submit(one, path))
            if len(pending) > 4 * threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


class Table:
    """Writes results as JSON lines, or as CSV with a column pair for each of the ``top_k`` labels."""

    def __init__(
        self, out: IO[str], kind: TableFormat, served: ServedModel, top_k: int, *, header: bool = True
    ) -> None:
        self._out, self._kind, self._served = out, kind, served
        self._columns = min(top_k, len(served.card.labels))
        self._csv = csv.writer(out, lineterminator="\n")
        if kind == "csv" and header:
            pairs = (f"{word}_{rank}" for rank in range(1, self._columns + 1) for word in ("label", "probability"))
            self._csv.writerow(("path", *pairs, "error"))

    def write(self, result: Result) -> None:
        """Add one line."""
        path, error = text(result.path), result.error
        if self._kind == "csv":
            cells = [cell for each in result.predictions for cell in (each["label"], f"{each['probability']:.6f}")]
            cells += [""] * (2 * self._columns - len(cells))
            self._csv.writerow((path, *cells, error.detail if error else ""))
            return
        members: dict[str, Any] = {**self._served.identity, "predictions": result.predictions}
        if error is not None:
            members = {"error": {"code": error.code, "detail": error.detail}}
        self._out.write(orjson.dumps({"path": path, **members}).decode() + "\n")


def text(path: Path) -> str:
    """The path as text, with question marks for bytes that are not UTF-8."""
    return str(path).encode(errors="replace").decode()
