"""Classification of many image files on Ray Data: workers on one machine or several take one shard at a time.

Each worker holds one copy of the network and runs it on one processor core. On several machines, images, models and
results must be on a file system that they share, under the same names. Only ``classify`` imports Ray.
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
from service.inference.served_model import ServedModel
from service.offline import classify as offline
from service.offline.run_folder import Run, Shard, Terms, written
from service.settings import Settings

ADDRESS: Final = "RAY_ADDRESS"
"""Ray's own setting: the cluster to run on. Without it, Ray is started on this machine and ended with the run."""
_STARTS: Final = 3
"""Attempts to start Ray, which gives its processes half a minute; a busy machine exceeds that, but seldom twice."""
_THREADS: Final = 2
_SOCKET_ROOM: Final = 40


class Worker:
    """Classifies one shard at a time and writes its table, in a process of Ray."""

    def __init__(self, model: StoredModel, settings: Settings, run: Run) -> None:
        self._model, self._settings, self._run = model, settings, run
        os.chdir(run.terms.folder)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """The number of images done, and the error of the shard as a whole, if any."""
        shard = self._run.shards[row["shard"]]
        try:
            with written(self._run.folder):
                replace_whole(self._run.part(shard), lambda target: self._write(shard, target))
        except CatseyeError as error:
            return {"images": 0, "failure": error.detail}
        return {"images": shard.images, "failure": ""}

    @cached_property
    def _served(self) -> ServedModel:
        # Not in the constructor, after whose errors Ray would start the worker again and again.
        return offline.load(self._model, self._settings, cores=1)

    def _write(self, shard: Shard, target: Path) -> None:
        terms = self._run.terms
        # One thread reads and decodes while the other runs the network.
        results = offline.classify(self._served, self._run.paths(shard), self._settings, terms.top_k, threads=_THREADS)
        with target.open("w", encoding="utf-8", newline="") as out:
            table = offline.Table(out, terms.format, self._served, terms.top_k, header=shard.number == 0)
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
    """The terms of a run of this model on these files and folders."""
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


def classify(model: StoredModel, settings: Settings, run: Run, workers: int | None) -> Iterator[int]:
    """Classify the shards that are left; gives the number of images of each one that is done.

    By default with a worker for each core that Ray has. Raises ``CatseyeError`` where Ray or the disk fails; finished
    shards are kept.
    """
    left = run.left()
    if not left:
        return
    with _started(workers) as ray:
        import ray.data as data

        cores = int(ray.cluster_resources().get("CPU", 1))
        rows = data.from_items([{"shard": shard.number} for shard in left], override_num_blocks=len(left))
        done = rows.map(
            Worker,  # type: ignore[arg-type]  # a class is taken too
            fn_constructor_args=(model, settings.model_copy(update={"api_keys": ()}), run),
            num_cpus=1,
            # One shard at a time: a slow worker must not hold shards that others could do.
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
    """Ray without its log, on the cluster that ``RAY_ADDRESS`` names, or started for this run alone."""
    # Ray's C++ part writes warnings about itself to the terminal.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    # By default Ray gives its workers the lowest priority, so that on a busy machine they hardly start.
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
        except Exception as error:  # Ray has no class of its own for processes that start too slowly
            ray.shutdown()
            if attempt == _STARTS:
                reason = str(error).strip().partition("\n")[0]
                raise CatseyeError(
                    f"Ray did not start ({reason}). Look at {ADDRESS}, or wait until the machine is less busy."
                ) from error


def _scratch() -> str:
    """A folder for Ray's logs and sockets, whose paths the system limits to some hundred bytes."""
    root = tempfile.gettempdir()
    return tempfile.mkdtemp(prefix="ray-", dir=root if len(root) + 12 <= _SOCKET_ROOM else "/tmp")  # noqa: S108
