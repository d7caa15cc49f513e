"""What the routes that look inside a network ask of the rest of the service, and nothing more."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar, cast

import numpy as np
from fastapi import Request
from numpy.typing import NDArray

from models.card import Card
from models.store.history import History

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
T = TypeVar("T")


class Served(Protocol):
    """One version of a model that is loaded and takes work."""

    @property
    def name(self) -> str:
        """The model's name in the store."""

    @property
    def version(self) -> str:
        """The version in the store."""

    @property
    def variant(self) -> str:
        """``accurate`` or ``fast``."""

    @property
    def card(self) -> Card:
        """What the model says about itself."""

    @property
    def metric_labels(self) -> tuple[str, str, str]:
        """(model, version, variant), for the metrics and the log."""

    def head(self) -> tuple[Floats, Floats]:
        """Kernel (embedding, classes) and bias (classes,)."""

    def history(self) -> History:
        """How it was trained; reads a file."""


class ImageAnswer(Protocol):
    """What the network says of one image."""

    @property
    def outputs(self) -> dict[str, Floats]:
        """The outputs by name, without the batch dimension."""


class Gateway(Protocol):
    """Finds models, decodes images and runs networks, within the service's limits."""

    def find(
        self, model: str | None, version: str | None = None, variant: str | None = None, request_id: str = ""
    ) -> Served:
        """The model to use, the default one for None; ``UnknownModel`` otherwise."""

    def versions(self, model: str) -> Sequence[str]:
        """Versions of a model that can be asked for, newest first, those of its fast variant too."""

    def ready(self) -> bool:
        """Whether a model takes work."""

    max_images: int
    """Most images in one request."""

    async def answer(
        self, served: Any, data: bytes, outputs: Sequence[str] = ("logits",), *, deadline: float
    ) -> ImageAnswer:
        """Decode one image file and run the network on it; ``outputs`` must hold ``logits``."""

    async def render(self, work: Callable[[], T], *, deadline: float, pixels: int, held: int = 0) -> T:
        """What ``work`` returns: drawing, and decoding for it, within bounds on threads and memory."""

    async def infer(self, served: Any, images: Pixels, outputs: Sequence[str], *, deadline: float) -> dict[str, Floats]:
        """Outputs ``logits``, ``embedding``, ``tap_<n>`` by name for (batch, height, width, 3) pixels."""


def gateway_of(request: Request) -> Gateway:
    """The service's gateway, put on the application when it starts."""
    return cast(Gateway, request.app.state.gateway)
