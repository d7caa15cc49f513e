"""The models of a worker, loaded in a thread of their own while it imports the rest."""

from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache

from service.inference.pipeline import Pipeline
from service.logs import write_log_lines
from service.settings import Settings, get_settings


@cache
def opening() -> "Future[Pipeline]":
    """The pipeline of this process with every model loaded; loading begins when this is first called.

    Networks are compiled outside of the interpreter, so that importing goes on meanwhile.
    """
    write_log_lines()
    settings = get_settings()
    if settings.runtime == "openvino":
        import models.runtime.openvino  # noqa: F401 - here, since two threads that import hinder each other
    thread = ThreadPoolExecutor(1, "catseye-opening")
    begun = thread.submit(_open, settings)
    thread.shutdown(wait=False)
    return begun


def _open(settings: Settings) -> Pipeline:
    pipeline = Pipeline(settings)
    pipeline.start()
    return pipeline
