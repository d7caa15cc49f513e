"""BentoML's own upload path: a file as the API's argument, and its adaptive batching."""

from pathlib import Path
from typing import Any

import bentoml
import numpy as np

from benchmarks.serving.peers import work


@bentoml.service(workers=work.WORKERS, threads=work.THREADS, logging={"access": {"enabled": False}})
class Peer:
    """The network behind BentoML's own decoding of requests."""

    def __init__(self) -> None:
        self._run = work.open_network()

    if work.BATCH == 1:

        @bentoml.api
        def classify(self, image: Path) -> dict[str, object]:
            """The best label of one image."""
            return work.answer(self._run(work.pixels_of(image.read_bytes())[None])[0])

    else:

        @bentoml.api(batchable=True, max_batch_size=work.BATCH, max_latency_ms=60_000)
        def classify(self, images: list[Path]) -> list[Any]:
            """The best label of each image of a batch."""
            pixels = np.stack([work.pixels_of(image.read_bytes()) for image in images])
            return [work.answer(logits) for logits in self._run(pixels)]
