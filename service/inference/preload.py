"""Loads the models of a worker in a thread of its own, while the worker imports the rest."""

from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache

from service.inference.pipeline import Pipeline
from service.logs import write_log_lines
from service.settings import Settings, get_settings


@cache
def preload() -> "Future[Pipeline]":
    """The pipeline of this process with every model loaded; loading begins at the first call.

    Networks are compiled outside of the interpreter, so imports go on meanwhile.
    """
    write_log_lines()
    settings = get_settings()
    if settings.runtime == "openvino":
        import models.runtime.openvino  # noqa: F401 - here, since two threads that import hinder each other
    thread = ThreadPoolExecutor(1, "catseye-preload")
    loading = thread.submit(_load, settings)
    thread.shutdown(wait=False)
    return loading


def _load(settings: Settings) -> Pipeline:
    pipeline = Pipeline(settings)
    pipeline.start()
    return pipeline
