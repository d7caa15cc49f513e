"""The model card: the description of a stored classifier, kept as ``card.json``."""

import math
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from models.errors import StoreError

CARD_SCHEMA = 1
CARD_FILE = "card.json"

FilePrecision = Literal["float32", "int8"]
"""What an exported file holds."""
Precision = Literal["float32", "bfloat16", "int8"]
"""What a runtime computes in; bfloat16 runs the float32 file on processors that have it."""
VariantName = Literal["accurate", "fast"]


class Part(BaseModel):
    """Base of the card's parts: immutable, and strict about unknown keys when written by this version."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Tap(Part):
    """A place in the network whose feature map can be read."""

    index: int
    name: str
    """The Keras layer's name, which is also the public name of the tap."""
    shape: tuple[int, int, int]
    """(height, width, channels) at the model's input size."""
    stride: int
    """Input pixels for each step of the map, rounded."""


class Pool(Part):
    """One averaged tap and the columns [start, stop) that it fills in the embedding."""

    tap: int
    start: int
    stop: int


class Head(Part):
    """How logits follow from feature maps; without ``pools`` class activation is not offered."""

    pools: tuple[Pool, ...] = ()
    embedding_size: int


class WeightsProvenance(Part):
    """Where the network's starting weights came from."""

    source: Literal["imagenet", "dogs", "none", "file", "store"]
    detail: str
    """One line for people: file name, package and version, or store tag."""
    sha256: str | None = None


class DataFingerprint(Part):
    """Which images a model was trained on, by content."""

    name: str
    images: int
    classes: dict[str, int]
    sha256: str
    """SHA-256 over the sorted (label, content hash) pairs."""
    skipped: int = 0


class Split(Part):
    """How the images were divided."""

    method: str
    seed: int
    train: int
    validation: int
    test: int


class Metrics(Part):
    """Figures on held-out images, for one precision of one model."""

    images: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    """95 % Wilson interval of the accuracy."""
    balanced_accuracy: float
    macro_f1: float
    log_loss: float
    calibration_error: float
    """Expected calibration error over 15 bins, after temperature scaling."""
    confusion: tuple[tuple[int, ...], ...]
    """Rows are true labels, columns predicted, in the card's label order."""


class Reference(Part):
    """What the model predicted on its held-out images: the reference for drift."""

    classes: dict[str, float]
    """Share of each predicted label."""
    confidence_edges: tuple[float, ...]
    confidence: tuple[float, ...]
    """Share of predictions in each bin of top-1 confidence."""


class Distillation(Part):
    """The teacher of a distilled model, and how the same network does without it."""

    teacher: str
    """NAME:VERSION."""
    temperature: float
    share: float
    """Weight of the teacher in the loss; the labels have the rest."""
    gain: float
    """Accuracy minus that of the same network trained directly: same images, split and seed."""
    gain_low: float
    gain_high: float
    """95 % interval of the gain, from the test images on which the two differ."""
    direct: Metrics
    """Metrics of the network that was trained directly, in float32."""


class Export(Part):
    """One runnable form of the network."""

    precision: FilePrecision
    file: str
    """Path of the OpenVINO ``.xml`` inside the model's folder."""
    sha256: str
    """Of the ``.bin`` that goes with it."""
    accuracy: float | None = None
    """On the test split, without one on the validation split, through the serving decode and OpenVINO."""
    note: str = ""


class Card(Part):
    """The description of a stored classifier."""

    schema_version: int = CARD_SCHEMA
    name: str
    labels: tuple[str, ...] = Field(min_length=2)
    backbone: str
    input_size: tuple[int, int]
    """(height, width) in pixels; every image is stretched to it."""
    weights: WeightsProvenance
    data: DataFingerprint | None = None
    split: Split | None = None
    settings: dict[str, object] = {}
    metrics: Metrics | None = None
    temperature: float = Field(default=1.0, gt=0)
    """Logits are divided by it before the softmax (Guo et al. 2017)."""
    taps: tuple[Tap, ...] = ()
    head: Head
    reference: Reference | None = None
    distillation: Distillation | None = None
    exports: tuple[Export, ...] = ()
    served_precision: Precision = "float32"
    variant_of: str | None = None
    """Name of the accurate model that this one is the fast variant of."""
    parameters: int
    files: dict[str, str] = {}
    """SHA-256 of every other file in the model's folder, by relative path."""
    versions: dict[str, str] = {}
    created: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC))

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("labels must differ from each other")
        if not math.isfinite(self.temperature):
            raise ValueError("temperature must be finite")
        return self


def read_card(path: Path) -> Card:
    """The card in a file; an unchanged file is parsed once. ``StoreError`` names what is wrong with it."""
    try:
        status = path.stat()
        return _parse(path, status.st_mtime_ns, status.st_size, status.st_ino)
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}. Check its permissions.") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        reason = f"{path} is no model card: {place}: {first['msg']}."
        raise StoreError(f"{reason} Store the model again.") from error


@lru_cache(maxsize=1024)
def _parse(path: Path, modified: int, size: int, inode: int) -> Card:
    card = Card.model_validate_json(path.read_bytes())
    if card.schema_version > CARD_SCHEMA:
        raise StoreError(
            f"{path} was written by a newer catseye (card schema {card.schema_version}, here {CARD_SCHEMA}). "
            "Update catseye."
        )
    return card
