"""One version of a model that is loaded, warm and ready for requests."""

import statistics
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prometheus_client import Counter, Histogram

from models.arrays import Floats, Pixels, softmax
from models.card import Card, VariantName
from models.export.head import read_head
from models.runtime.base import Runtime
from models.store.history import History, read_history
from models.store.store import StoredModel
from service.inference.batcher import Batcher, Reason
from service.inference.drift import DriftWatch
from service.inference.execution_plan import Plan, open_for
from service.inference.queue import AdmissionQueue
from service.metrics import BATCH_SIZE, CONFIDENCE, MODEL_INFO, PREDICTIONS, STAGES
from service.settings import Settings

_WARM_RUNS = 5
_RECENT = 512
_PREFETCH = 4
"""Images prefetched for each thread."""


class ServedModel:
    """A stored model with its runtime and its queue."""

    def __init__(self, stored: StoredModel, settings: Settings, plan: Plan, cores: int | None = None) -> None:
        self.stored = stored
        self.card: Card = stored.card
        self.name = stored.card.variant_of or stored.name
        self.version = stored.version
        self.variant: VariantName = "fast" if stored.card.variant_of else "accurate"
        self.plan = plan
        self.runtime: Runtime = open_for(stored, settings, plan, cores)
        self._head = read_head(stored.path, self.runtime.precision)
        self.batcher: Batcher | None = None
        if plan.batch > 1:
            self.batcher = Batcher(
                self.runtime.run,
                max_batch=plan.batch,
                wait=plan.wait_ms / 1e3,
                runs=plan.streams,
                on_batch=self._count_batches(),
            )
        # Enough for the batches that run, and for another that gathers meanwhile.
        self.slots = plan.threads if self.batcher is None else max(plan.threads, plan.batch * (plan.streams + 1))
        self.queue = AdmissionQueue(self.name, slots=self.slots, queue=settings.queue, prefetch=_PREFETCH * self.slots)
        self._recent: deque[float] = deque(maxlen=_RECENT)
        self._drift = DriftWatch(self.name, self.card) if self.variant == "accurate" else None
        self._warm()

    def head(self) -> tuple[Floats, Floats]:
        """Kernel (embedding, classes) and bias (classes,)."""
        return self._head

    def history(self) -> History:
        """How it was trained; reads a file."""
        return read_history(self.stored.path)

    def answer(
        self, decode: Callable[[], Pixels], outputs: Sequence[str], cancelled: Callable[[], bool] = lambda: False
    ) -> tuple[dict[str, Floats], dict[str, float]]:
        """Outputs for one image, without the batch dimension, and the seconds of each stage; blocks.

        Raises ``CancelledError`` where ``cancelled`` says so before the network has begun to run.
        """
        if self.batcher is None:
            began = time.perf_counter()
            pixels = decode()
            decoded = time.perf_counter()
            if cancelled():
                raise CancelledError
            answer = self.runtime.run(pixels[None], outputs, alone=self.queue.admitted == 1)
            found = {name: value[0] for name, value in answer.items()}
            seconds = {"decode": decoded - began, "inference": time.perf_counter() - decoded}
        else:
            found, seconds = self.batcher.decode_and_run(decode, outputs, cancelled)
        self._recent.append(sum(seconds.values()))
        return found, seconds

    def observe(self, seconds: dict[str, float]) -> None:
        """Count the stages of an image, or of a batch that came as one, in the metrics."""
        for stage, value in seconds.items():
            self.stages[stage].observe(value)

    def predict(self, logits: Floats) -> Floats:
        """Calibrated probabilities (batch, classes) of logits, counted in the metrics of predictions and drift."""
        probabilities = softmax(logits, self.card.temperature).astype(np.float32)
        for top, confidence in zip(probabilities.argmax(1).tolist(), probabilities.max(1).tolist(), strict=True):
            self._tops[top].inc()
            self._confidence.observe(confidence)
            if self._drift is not None:
                self._drift.add(self.card.labels[top], confidence)
        return probabilities

    def _count_batches(self) -> Callable[[int, Reason], None]:
        """Counts batches; holds no reference to this object, which goes with the last request that uses it."""
        name, variant = self.name, self.variant
        return lambda size, reason: BATCH_SIZE.labels(name, variant, reason).observe(size)

    def run(self, images: Pixels, outputs: Sequence[str]) -> dict[str, Floats]:
        """Outputs by name for (batch, height, width, 3) pixels; blocks."""
        return self.runtime.run(images, outputs)

    def record(self, seconds: float) -> None:
        """Add the seconds of decode and inference of one image to the measured latency."""
        self._recent.append(seconds)

    def latency_ms(self) -> dict[str, float]:
        """p50 and p95 in milliseconds of decode and inference, over the last images."""
        recent = sorted(self._recent)
        if len(recent) < 2:
            return {"p50": round(recent[0] * 1e3, 2), "p95": round(recent[0] * 1e3, 2)}
        cuts = statistics.quantiles(recent, n=20)
        return {"p50": round(cuts[9] * 1e3, 2), "p95": round(cuts[18] * 1e3, 2)}

    @cached_property
    def stages(self) -> dict[str, Histogram]:
        """The histogram of each stage, looked up once."""
        names = ("receive", "decode", "queue", "batch_wait", "inference", "respond")
        return {stage: STAGES.labels(stage, self.name, self.variant) for stage in names}

    @cached_property
    def _tops(self) -> list[Counter]:
        """The counter of predictions of each label, looked up once."""
        return [PREDICTIONS.labels(*self.metric_labels, label) for label in self.card.labels]

    @cached_property
    def _confidence(self) -> Histogram:
        """The histogram of the top label's probability."""
        return CONFIDENCE.labels(self.name, self.variant)

    @cached_property
    def info_labels(self) -> tuple[str, ...]:
        """Label values of the model's info metric."""
        precision = self.runtime.precision
        return (self.name, self.version, self.variant, self.card.backbone, precision, self.runtime.name)

    @cached_property
    def metric_labels(self) -> tuple[str, str, str]:
        """(model, version, variant)."""
        return self.name, self.version, self.variant

    def activate(self) -> None:
        """Show in the metrics that it serves."""
        MODEL_INFO.labels(*self.info_labels).set(1)

    def retire(self) -> None:
        """Serve no more; the memory is freed when the last request that uses this has ended."""
        MODEL_INFO.labels(*self.info_labels).set(0)

    def close(self) -> None:
        """Free the memory at once; what has not begun to run fails."""
        self.retire()
        self.runtime.close()

    def _warm(self) -> None:
        """Run a few times before the first request, which also measures the latency."""
        image = np.zeros((1, *self.card.input_size, 3), np.uint8)
        for _ in range(_WARM_RUNS):
            began = time.perf_counter()
            self.run(image, ("logits",))
            self.record(time.perf_counter() - began)
        if self.batcher is not None:  # in a form that the runtime makes when it is first asked for
            self.run(np.repeat(image, self.plan.batch, 0), ("logits",))

    @property
    def identity(self) -> dict[str, Any]:
        """Model, version and variant, as every answer gives them."""
        return {"model": self.name, "version": self.version, "variant": self.variant}

    def top(self, probabilities: NDArray[np.floating], count: int) -> list[dict[str, Any]]:
        """The most probable labels, the first the most probable: ``[{"label", "probability"}, ...]``."""
        order = probabilities.argsort()[::-1][:count]
        return [{"label": self.card.labels[index], "probability": float(probabilities[index])} for index in order]

    def describe(self) -> dict[str, Any]:
        """The entry of ``/v1/models``."""
        return {
            "version": self.version,
            "variant": self.variant,
            "tag": self.stored.tag,
            "backbone": self.card.backbone,
            "precision": self.runtime.precision,
            "runtime": self.runtime.name,
            "plan": self.plan.model_dump(),
            "input_size": list(self.card.input_size),
            "latency_ms": self.latency_ms(),
            "card": self.card.model_dump(mode="json"),
        }
