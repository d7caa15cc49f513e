"""From bytes to answers: decode and run in a small pool of threads, one hop for each image."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from starlette.requests import Request

from models.card import VariantName
from models.errors import CatseyeError, Overloaded
from models.image.decode import Pixels, decode
from models.runtime.base import softmax
from models.store.store import StoredModel
from service.asgi import deadline
from service.inference.registry import Registry
from service.inference.response_cache import Cache
from service.inference.served_model import Served
from service.inference.thread_pool import Workers
from service.inference.tuning import plan_for
from service.metrics import DOWNGRADED
from service.ports import Floats
from service.routes.uploads import read_images
from service.settings import Settings

T = TypeVar("T")


@dataclass(frozen=True)
class Answer:
    """One image's outputs, and the seconds that each stage took."""

    outputs: dict[str, Floats]
    probabilities: Floats
    seconds: dict[str, float]


class Pipeline:
    """The gateway between the routes and the networks (``service.ports.Gateway``)."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._limits = settings.limits
        self._workers = Workers(1)
        self._seconds_to_measure = 0.0
        self._cache = Cache(settings.cache_mb)
        self.registry = Registry(
            self._load, names=settings.models, default=settings.default_model, canary=settings.canary
        )

    def start(self) -> None:
        """Load the models; only now, before the first request, is there time to measure how to run them."""
        self._seconds_to_measure = self._settings.tune_seconds
        self.registry.refresh()
        self._seconds_to_measure = 0.0

    def _load(self, stored: StoredModel) -> Served:
        began = time.monotonic()
        plan = plan_for(stored, self._settings, self._seconds_to_measure)
        self._seconds_to_measure = max(0.0, self._seconds_to_measure - (time.monotonic() - began))
        served = Served(stored, self._settings, plan)
        self._workers.grow(served.slots)
        return served

    def close(self) -> None:
        """End the threads and close every model."""
        self._workers.close()
        self.registry.close()

    def ready(self) -> bool:
        """Whether a model takes work."""
        return bool(self.registry.names())

    def find(
        self, model: str | None, version: str | None = None, variant: str | None = None, request_id: str = ""
    ) -> Served:
        """The model to use, the default one for None; ``UnknownModel`` otherwise."""
        return self.registry.find(model, version, variant, request_id)

    def versions(self, model: str) -> list[str]:
        """Versions of a model that can be asked for, newest first."""
        slots = self.registry.slots(model)
        if not slots:
            self.registry.find(model)
        return [served.version for slot in slots.values() for served in slot.versions()]

    async def images(self, request: Request) -> list[bytes]:
        """The image files of a request."""
        return await read_images(request, self._settings.max_images)

    async def decode(self, data: bytes, size: tuple[int, int] | None) -> Pixels:
        """Pixels (height, width, 3) of an image file, in a worker thread."""
        return await self._in_thread(lambda: decode(data, size, self._limits))

    async def infer(self, model: object, images: Pixels, outputs: Sequence[str]) -> dict[str, Floats]:
        """Outputs by name for (batch, height, width, 3) pixels."""
        assert isinstance(model, Served)  # noqa: S101 - what ``find`` gave
        async with model.gate.enter(self.deadline()):
            return await self._in_thread(lambda: model.run(images, outputs))

    async def answer(self, served: Served, data: bytes, outputs: Sequence[str] = ("logits",)) -> Answer:
        """Decode one file and run the network on it."""
        key = self._cache.key(data, served.stored.tag) if self._cache.on and outputs == ("logits",) else None
        logits = self._cache.get(key) if key is not None else None
        if logits is not None:
            return self._answer(served, {"logits": logits}, {"queue": 0.0, "decode": 0.0, "inference": 0.0})
        came, ends = time.monotonic(), self.deadline()
        async with served.gate.enter(ends):
            answer = await self._in_thread(lambda: self._work(served, data, outputs, came, ends))
        served.stages["queue"].observe(answer.seconds["queue"])
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
    ) -> tuple[Served, str | None]:
        """The variant to answer with, and the reason where the service chose it."""
        if version is not None or variant is not None:
            return self.find(model, version, variant, request_id), None
        served = self.find(model, None, None, request_id)
        variants = self.registry.variants(model)
        fast = variants[-1] if len(variants) > 1 else None
        if budget_ms is not None:
            return _within(budget_ms, served, fast)
        if fast is not None and self._settings.overload_fast and served.gate.full and not fast.gate.full:
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
    ) -> tuple[Served, Overloaded] | None:
        """Whose queue is full, and what a request is told that cannot be answered for that, whatever its body."""
        if self._cache.on:  # which may have the answer
            return None
        if not any(served.gate.full for served in self.registry.variants(model)):  # nearly always, and cheap
            return None
        served, _ = self.choose(model, version, variant, budget_ms, request_id)
        return (served, served.gate.refusal()) if served.gate.full else None

    def begin(self) -> None:
        """Set the deadline of the request that this task answers, unless the edge has."""
        deadline.begin(self._settings.timeout)

    def deadline(self) -> float:
        """When the current request is answered 504 (``time.monotonic``)."""
        return deadline.current(self._settings.timeout)

    def _work(self, served: Served, data: bytes, outputs: Sequence[str], came: float, ends: float) -> Answer:
        size, limits = served.card.input_size, self._limits
        began = time.monotonic()
        if began >= ends:
            raise served.gate.timed_out()
        found, seconds = served.answer(lambda: decode(data, size, limits), outputs)
        return self._answer(served, found, {"queue": began - came, **seconds})

    def _answer(self, served: Served, outputs: dict[str, Floats], seconds: dict[str, float]) -> Answer:
        probabilities = softmax(outputs["logits"], served.card.temperature).astype(np.float32)
        top = int(probabilities.argmax())
        confidence = float(probabilities[top])
        served.tops[top].inc()
        served.confidence.observe(confidence)
        if served.drift is not None:
            served.drift.add(served.card.labels[top], confidence)
        return Answer(outputs, probabilities, seconds)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        try:
            return await self._workers.run(work)
        except CatseyeError:
            raise
        except MemoryError:
            raise Overloaded("The server is short of memory. Try again later.") from None


def _within(budget_ms: float, accurate: Served, fast: Served | None) -> tuple[Served, str]:
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
