"""Very many image files on Ray Data: shards of them go to workers on one machine or many.

Each worker holds one copy of the network and runs it in one processor core. Files, models and results are read and
written by name, so on several machines all three stand on a file system that they share. The module imports
without Ray; only ``classify`` needs it.
"""

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from models.environment import load_ray
from models.errors import CatseyeError
from models.files import replace_whole
from models.store.store import StoredModel
from service.inference.execution_plan import processors
from service.inference.served_model import Served
from service.offline import classify as offline
from service.offline.run_folder import Shard, Shards, Terms, written
from service.settings import Settings

ADDRESS: Final = "RAY_ADDRESS"
"""Ray's own setting: the cluster to run on. Without it, Ray is started on this machine and ended with the run."""
_STARTS: Final = 3
"""Ray gives its processes half a minute to start, which a busy machine exceeds, but with warm files seldom twice."""
_THREADS: Final = 2
_SOCKET_ROOM: Final = 40


class Worker:
    """Classifies a shard at a time and writes its table; lives in a process of Ray's."""

    def __init__(self, model: StoredModel, settings: Settings, shards: Shards) -> None:
        self._model, self._settings, self._shards = model, settings, shards
        os.chdir(shards.terms.folder)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Images done, and what went wrong with the shard as a whole, if anything."""
        shard = self._shards.shards[row["shard"]]
        try:
            with written(self._shards.folder):
                replace_whole(self._shards.part(shard), lambda target: self._write(shard, target))
        except CatseyeError as error:
            return {"images": 0, "failure": error.detail}
        return {"images": shard.images, "failure": ""}

    @cached_property
    def _served(self) -> Served:
        # At the first shard and not in the constructor, whose errors Ray answers by starting the worker anew.
        return offline.load(self._model, self._settings, cores=1)

    def _write(self, shard: Shard, target: Path) -> None:
        terms = self._shards.terms
        # One thread reads and decodes while the other infers.
        results = offline.classify(
            self._served, self._shards.paths(shard), self._settings, terms.top_k, threads=_THREADS
        )
        with target.open("w", encoding="utf-8", newline="") as out:
            table = offline.Table(out, terms.format, self._served, terms.top_k, head=shard.number == 0)
            for result in results:
                table.write(result)


def terms_of(
    model: StoredModel,
    settings: Settings,
    paths: Sequence[Path],
    *,
    kind: offline.TableFormat = "jsonl",
    top_k: int = 5,
    shard: int = 1000,
) -> Terms:
    """What a run of this model on these files and folders depends on."""
    return Terms(
        model=model.name,
        version=model.version,
        runtime=settings.runtime,
        precision=settings.precision or model.card.served_precision,
        top_k=top_k,
        format=kind,
        shard=shard,
        limits=asdict(settings.limits),
        folder=str(Path.cwd()),
        paths=tuple(map(offline.text, paths)),
    )


def classify(model: StoredModel, settings: Settings, shards: Shards, workers: int | None) -> Iterator[int]:
    """Do what is left; after each shard, how many images it had. By default a worker for each core that Ray has.

    ``CatseyeError`` where Ray or the disk gives up; what is done by then is kept.
    """
    left = shards.left()
    if not left:
        return
    with _started(workers) as ray:
        import ray.data as data

        cores = int(ray.cluster_resources().get("CPU", 1))
        rows = data.from_items([{"shard": shard.number} for shard in left], override_num_blocks=len(left))
        done = rows.map(
            Worker,  # type: ignore[arg-type]  # a class is taken too
            fn_constructor_args=(model, settings.model_copy(update={"api_keys": ()}), shards),
            num_cpus=1,
            # One shard at a time, or a worker that is late or slow would hold shards that others could do.
            compute=data.ActorPoolStrategy(
                size=min(workers or cores, cores, len(left)), max_tasks_in_flight_per_actor=1
            ),
        )
        for row in done.iter_rows():
            if row["failure"]:
                raise CatseyeError(row["failure"])
            yield row["images"]


@contextmanager
def _started(workers: int | None) -> Iterator[Any]:
    """Ray, quiet, on the cluster that is named or started here for this run alone."""
    # The C++ side writes warnings about itself to the user's terminal.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    # By itself Ray sets its workers behind all else on the machine, so that next to others they hardly start.
    os.environ.setdefault("RAY_worker_niceness", "0")
    ray = load_ray()
    import ray.data as data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    data.DataContext.get_current().enable_progress_bars = False
    scratch = _scratch()
    try:
        _start(ray, scratch, max(workers or 0, processors()))
        yield ray
    except ray.exceptions.RayError as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise CatseyeError(f"Ray ended the run ({lines[-1]}). Repeat the command: it goes on where it was.") from error
    finally:
        ray.shutdown()
        shutil.rmtree(scratch, ignore_errors=True)


def _start(ray: Any, scratch: str, cores: int) -> None:
    """Join the cluster that is named, or start Ray here; ``CatseyeError`` where that fails."""
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if not os.environ.get(ADDRESS):
        options |= {"address": "local", "num_cpus": cores, "include_dashboard": False, "_temp_dir": scratch}
    for attempt in range(1, _STARTS + 1):
        try:
            ray.init(**options)
            return
        except Exception as error:  # of no class of its own when its processes are late
            ray.shutdown()
            if attempt == _STARTS:
                reason = str(error).strip().partition("\n")[0]
                raise CatseyeError(
                    f"Ray did not start ({reason}). Look at {ADDRESS}, or wait until the machine is less busy."
                ) from error


def _scratch() -> str:
    """A folder for Ray's logs and sockets, whose names must not be longer than the system allows."""
    root = tempfile.gettempdir()
    return tempfile.mkdtemp(prefix="ray-", dir=root if len(root) + 12 <= _SOCKET_ROOM else "/tmp")  # noqa: S108
