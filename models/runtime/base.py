"""What every runtime is and does: the protocol, and the checks on what goes in and comes out."""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import numpy as np

from models.arrays import Floats, Pixels, softmax
from models.card import Card, Precision
from models.errors import BadParameter, StoreError, UnknownLayer
from models.store.store import StoredModel

__all__ = ["Floats", "Hint", "Kind", "Outputs", "Pixels", "Runtime", "softmax"]

Kind = Literal["openvino", "tensorflow"]
Hint = Literal["latency", "throughput"]
Outputs = dict[str, Floats]

FAST_OUTPUTS = ("logits", "embedding")
"""What the hot path computes. The embedding is on the way to the logits and costs nothing measurable;
all maps together cost 5 to 15 % (MobileNetV2, ``benchmarks/runtime.py``)."""


class Runtime(Protocol):
    """A network ready to run, from any thread."""

    name: str
    """``openvino`` or ``tensorflow``."""
    precision: Precision
    """What it really computes in, which is float32 where bfloat16 was asked of a processor without it."""
    outputs: tuple[str, ...]
    """Everything ``run`` can be asked for: logits, embedding, tap_0 ... tap_n."""
    streams: int
    """How many runs go on at once before they wait for each other."""

    def run(self, images: Pixels, outputs: Sequence[str] = ("logits",), *, alone: bool = False) -> Outputs:
        """The named outputs, float32 with the batch first, for ``images`` (batch, height, width, 3) in RGB.

        ``alone`` says that nobody else is about to run, so that this run may have every processor.
        Raises ``BadParameter`` for images of another shape or type, ``UnknownLayer`` for an unknown output.
        """

    def close(self) -> None:
        """Give the memory back; runs that have begun still end well."""


def output_names(card: Card) -> tuple[str, ...]:
    """Every output of a model by its card, in order."""
    return (*FAST_OUTPUTS, *(f"tap_{tap.index}" for tap in card.taps))


def check_images(images: Pixels, size: tuple[int, int]) -> Pixels:
    """``images`` as one block of memory, or ``BadParameter`` unless uint8 (batch, height, width, 3)."""
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (*size, 3) or not images.shape[0]:
        raise BadParameter(
            f"The images are {images.dtype} {images.shape}. "
            f"Give uint8 (batch, {size[0]}, {size[1]}, 3) with at least one image."
        )
    return np.ascontiguousarray(images)


def check_outputs(asked: Sequence[str], known: Sequence[str]) -> None:
    """Raise ``UnknownLayer`` for the first name that the network does not have."""
    for name in asked:
        if name not in known:
            raise UnknownLayer(f"The model has no output {name!r}. It has {', '.join(known)}.")


def check_answer(model: StoredModel, file: str, answer: Mapping[str, Floats]) -> None:
    """Raise ``StoreError`` unless a first answer, to one image, is what the card promises."""
    card = model.card
    shapes = {"logits": (1, len(card.labels)), "embedding": (1, card.head.embedding_size)}
    for name, shape in shapes.items():
        if answer[name].shape != shape:
            raise StoreError(
                f"{file} of model {model.tag} answers {name} {answer[name].shape}, its card says {shape}. "
                "Store the model again, or serve another."
            )
        if not np.isfinite(answer[name]).all():
            raise StoreError(
                f"{file} of model {model.tag} answers {name} that are not finite, so its training failed. "
                "Train it again, or serve another."
            )
