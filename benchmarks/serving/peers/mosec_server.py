"""mosec: a stage that decodes and one that runs the network in batches, each in processes of its own."""

from typing import Any

import numpy as np
from mosec import Server, Worker

from benchmarks.serving.peers import work


class Decode(Worker):
    """Bytes to pixels."""

    def deserialize(self, data: bytes) -> bytes:
        """The body as it is."""
        return data

    def forward(self, data: bytes) -> Any:
        """Pixels of one image."""
        return work.pixels_of(data)


class Classify(Worker):
    """Pixels to the best label, in batches."""

    def __init__(self) -> None:
        self._run = work.open_network()

    def forward(self, data: Any) -> Any:
        """Answers for a batch, or for one image where batches are off."""
        if work.BATCH == 1:
            return work.answer(self._run(data[None])[0])
        return [work.answer(logits) for logits in self._run(np.stack(data))]


class Both(Classify):
    """Bytes to the best label in one stage, without a hop between processes."""

    def deserialize(self, data: bytes) -> bytes:
        """The body as it is."""
        return data

    def forward(self, data: Any) -> Any:
        """Answers for a batch of files, or for one file where batches are off."""
        if work.BATCH == 1:
            return super().forward(work.pixels_of(data))
        return super().forward([work.pixels_of(each) for each in data])


if __name__ == "__main__":
    server = Server()
    wait = {"max_batch_size": work.BATCH, "max_wait_time": work.WAIT_MS if work.BATCH > 1 else 0}
    if work.THREADS == 1:
        server.append_worker(Both, num=work.WORKERS, **wait)
    else:
        server.append_worker(Decode, num=work.THREADS)
        server.append_worker(Classify, num=work.WORKERS, **wait)
    server.run()
