"""The model card: everything a stored classifier says about itself, kept as ``card.json``."""

import math
from datetime import UTC, datetime
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

CARD_SCHEMA = 1

Precision = Literal["float32", "int8"]
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
    """How logits follow from feature maps; empty ``pools`` means class activation is not exact and not offered."""

    pools: tuple[Pool, ...] = ()
    embedding_size: int


class WeightsProvenance(Part):
    """Where the network's starting weights came from."""

    source: Literal["imagenet", "dogs", "none", "file", "store"]
    detail: str
    """One line for people: file name, package and version, or store tag."""
    sha256: str | None = None


class DataFingerprint(Part):
    """Which images a model saw, by content."""

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
    """What the model predicted on its held-out images: the yardstick for drift."""

    classes: dict[str, float]
    """Share of each predicted label."""
    confidence_edges: tuple[float, ...]
    confidence: tuple[float, ...]
    """Share of predictions in each bin of top-1 confidence."""


class Export(Part):
    """One runnable form of the network."""

    precision: Precision
    file: str
    """Path of the OpenVINO ``.xml`` inside the model's folder."""
    sha256: str
    """Of the ``.bin`` that goes with it."""
    accuracy: float | None = None
    """On the test split, through the serving decode and OpenVINO."""
    note: str = ""


class Card(Part):
    """A stored classifier's description of itself."""

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
    exports: tuple[Export, ...] = ()
    served_precision: Precision = "float32"
    variant_of: str | None = None
    """Name of the accurate model that this one is the fast variant of."""
    parameters: int
    files: dict[str, str] = {}
    """SHA-256 of every other file in the model's folder, by relative path."""
    versions: dict[str, str] = {}
    created: datetime = Field(default_factory=lambda: datetime.now(UTC))

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("labels must differ from each other")
        if not math.isfinite(self.temperature):
            raise ValueError("temperature must be finite")
        return self
