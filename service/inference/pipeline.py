"""From bytes to answers: decode and run in a small pool of threads, one hop for each image."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

from models.arrays import Floats, Pixels
from models.card import VariantName
from models.errors import Overloaded
from models.image.decode import decode
from models.store.store import StoredModel
from service.inference.execution_plan import share
from service.inference.queue import RenderQueue
from service.inference.registry import Registry
from service.inference.response_cache import ResponseCache
from service.inference.served_model import ServedModel
from service.inference.thread_pool import Cancelled, ThreadPool
from service.inference.tuning import plan_for
from service.metrics import DOWNGRADED
from service.settings import Settings

T = TypeVar("T")

logger = logging.getLogger("catseye")

MAX_RENDER_THREADS: Final = 4


@dataclass(frozen=True)
class Answer:
    """One image's outputs, and the seconds that each stage took."""

    outputs: dict[str, Floats]
    probabilities: Floats
    seconds: dict[str, float]


class Pipeline:
    """Finds models, decodes images and runs networks, within the service's limits."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._limits = settings.limits
        self._threads = ThreadPool(1)
        self._rendering = RenderQueue(
            threads=max(2, min(share(settings), MAX_RENDER_THREADS)),
            queue=settings.queue,
            max_pixels=self._limits.max_pixels,
        )
        self.max_images = settings.max_images
        """Most images in one request."""
        self._seconds_to_measure = 0.0
        self._cache = ResponseCache(settings.cache_mb)
        self.registry = Registry(
            self._load, names=settings.models, default=settings.default_model, canary=settings.canary
        )

    def start(self) -> None:
        """Load the models; only now, before the first request, is there time to measure how to run them."""
        for sentence in self._settings.ineffective():
            logger.warning("%s", sentence)
        self._seconds_to_measure = self._settings.tune_seconds
        self.registry.refresh()
        self._seconds_to_measure = 0.0

    def _load(self, stored: StoredModel) -> ServedModel:
        began = time.monotonic()
        plan = plan_for(stored, self._settings, self._seconds_to_measure)
        self._seconds_to_measure = max(0.0, self._seconds_to_measure - (time.monotonic() - began))
        served = ServedModel(stored, self._settings, plan)
        self._threads.grow(served.slots)
        return served

    def close(self) -> None:
        """End the threads and close every model."""
        self._threads.close()
        self._rendering.close()
        self.registry.close()

    def ready(self) -> bool:
        """Whether a model takes work."""
        return bool(self.registry.names())

    def find(
        self, model: str | None, version: str | None = None, variant: str | None = None, request_id: str = ""
    ) -> ServedModel:
        """The model to use, the default one for None; ``UnknownModel`` otherwise."""
        return self.registry.find(model, version, variant, request_id)

    def versions(self, model: str) -> list[str]:
        """Versions of a model that can be asked for, newest first."""
        return [served.version for loaded in self.registry.loaded(model).values() for served in loaded.all()]

    async def infer(
        self, served: ServedModel, images: Pixels, outputs: Sequence[str], *, deadline: float
    ) -> dict[str, Floats]:
        """Outputs by name, ``logits`` among them, for (batch, height, width, 3) pixels."""
        came = time.monotonic()

        def work(cancelled: Cancelled) -> dict[str, Floats]:
            began = _begin(served, deadline)
            found = served.run(images, outputs)
            served.observe({"queue": began - came, "inference": time.monotonic() - began})
            served.predict(found["logits"])
            return found

        async with served.queue.enter(deadline):
            return await self._in_thread(work)

    async def render(self, work: Callable[[], T], *, deadline: float, pixels: int, held: int = 0) -> T:
        """What ``work`` returns or raises: drawing, and decoding for it, in one of a few threads.

        Parameters
        ----------
        work: decodes an image to show it, draws, or writes a file format; blocks
        deadline: when to give up waiting for a thread (``time.monotonic``)
        pixels: how many ``work`` decodes, by the image's header
        held: bytes of the arrays that ``work`` holds from now on, such as feature maps

        Raises ``Overloaded`` where too much waits already, ``TimedOut`` where the deadline passes before it begins.
        """
        with _memory_errors():
            return await self._rendering.run(work, deadline=deadline, pixels=pixels, held=held)

    async def answer(
        self, served: ServedModel, data: bytes, outputs: Sequence[str] = ("logits",), *, deadline: float
    ) -> Answer:
        """Decode one file and run the network on it."""
        key = self._cache.key(data, served.stored.tag) if self._cache.on and outputs == ("logits",) else None
        logits = self._cache.get(key) if key is not None else None
        if logits is not None:
            seconds = {"queue": 0.0, "decode": 0.0, "inference": 0.0}
            return Answer({"logits": logits}, served.predict(logits[None])[0], seconds)
        came = time.monotonic()

        def work(cancelled: Cancelled) -> Answer:
            began = _begin(served, deadline)
            found, seconds = served.answer(
                lambda: decode(data, served.card.input_size, self._limits), outputs, cancelled
            )
            seconds = {"queue": began - came, **seconds}
            served.observe(seconds)
            return Answer(found, served.predict(found["logits"][None])[0], seconds)

        async with served.queue.enter(deadline):
            answer = await self._in_thread(work)
        if key is not None:
            self._cache.put(key, answer.outputs["logits"])
        return answer

    def choose(
        self,
        model: str | None,
        version: str | None,
        variant: VariantName | None,
        budget_ms: float | None,
        request_id: str = "",
    ) -> tuple[ServedModel, str | None]:
        """The variant to answer with, and the reason where the service chose it."""
        if version is not None or variant is not None:
            return self.find(model, version, variant, request_id), None
        served = self.find(model, None, None, request_id)
        variants = self.registry.variants(model)
        fast = variants[-1] if len(variants) > 1 else None
        if budget_ms is not None:
            return _within(budget_ms, served, fast)
        if fast is not None and self._settings.overload_fast and served.queue.full and not fast.queue.full:
            DOWNGRADED.labels(served.name).inc()
            return fast, "the accurate variant's queue is full"
        return served, None

    def refusal(
        self,
        model: str | None,
        version: str | None,
        variant: VariantName | None,
        budget_ms: float | None,
        request_id: str,
    ) -> tuple[ServedModel, Overloaded] | None:
        """Whose queue is full, and what a request is told that cannot be answered for that, whatever its body."""
        if self._cache.on:  # which may have the answer
            return None
        if not any(served.queue.full for served in self.registry.variants(model)):  # nearly always, and cheap
            return None
        served, _ = self.choose(model, version, variant, budget_ms, request_id)
        return (served, served.queue.refusal()) if served.queue.full else None

    async def _in_thread(self, work: Callable[[Cancelled], T]) -> T:
        with _memory_errors():
            return await self._threads.run(work)


def _begin(served: ServedModel, deadline: float) -> float:
    """The time now; ``TimedOut`` where the deadline passed while a prefetched image waited for its thread."""
    began = time.monotonic()
    if began >= deadline:
        raise served.queue.timed_out()
    return began


@contextmanager
def _memory_errors() -> Iterator[None]:
    """Turn a ``MemoryError`` into ``Overloaded``."""
    try:
        yield
    except MemoryError:
        raise Overloaded("The server is short of memory. Try again later.") from None


def _within(budget_ms: float, accurate: ServedModel, fast: ServedModel | None) -> tuple[ServedModel, str]:
    """The most accurate variant whose measured p95 fits the budget, and why."""
    p95 = accurate.latency_ms()["p95"]
    if p95 <= budget_ms:
        return accurate, f"the accurate variant's p95 of {p95:g} ms fits the budget of {budget_ms:g} ms"
    if fast is None:
        return accurate, f"no variant fits {budget_ms:g} ms (p95 {p95:g} ms), and there is no fast one"
    quick = fast.latency_ms()["p95"]
    if quick <= budget_ms:
        return fast, f"the accurate variant's p95 of {p95:g} ms is over the budget of {budget_ms:g} ms"
    best = min((accurate, fast), key=lambda served: served.latency_ms()["p95"])
    return (
        best,
        f"no variant fits {budget_ms:g} ms (accurate {p95:g} ms, fast {quick:g} ms), so the faster one answers",
    )
