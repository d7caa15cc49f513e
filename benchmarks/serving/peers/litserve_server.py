"""LitServe: ``decode_request``, ``batch``, ``predict``, ``encode_response`` in its worker processes."""

from typing import Any

import litserve
import numpy as np
from fastapi import Request

from benchmarks.serving.peers import work


class Classify(litserve.LitAPI):
    """One image in, the best label out."""

    def setup(self, device: str) -> None:
        """Open the network in the worker."""
        self._run = work.open_network()

    def decode_request(self, request: Request) -> Any:
        """Pixels of the file in a multipart field."""
        return work.pixels_of(request["image"].file.read())

    def batch(self, inputs: list[Any]) -> Any:
        """Pixels of several images."""
        return np.stack(inputs)

    def predict(self, pixels: Any) -> Any:
        """Logits of one image or of a batch."""
        return self._run(pixels) if work.BATCH > 1 else self._run(pixels[None])[0]

    def unbatch(self, logits: Any) -> Any:
        """The rows."""
        return list(logits)

    def encode_response(self, logits: Any) -> dict[str, object]:
        """The reply."""
        return work.answer(logits)


if __name__ == "__main__":
    api = Classify(max_batch_size=work.BATCH, batch_timeout=work.WAIT_MS / 1e3)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=work.WORKERS, timeout=60)
    server.run(host="127.0.0.1", port=work.PORT, generate_client_file=False, log_level="warning", access_log=False)
