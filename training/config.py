"""Every setting of one training run, and where runs and caches are kept."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    field_validator,
    model_validator,
)

from models.errors import BadParameter
from training.data.augmentation import Augmentation

Freeze = Literal["auto", "head", "most", "few", "none"]
Mirror = Literal["none", "horizontal", "all"]
Depths = Literal["last", "several"]
Int8 = Literal["auto", "off"]
Count = Annotated[int, Field(ge=1, le=100_000)]

DEFAULT_HOME = ".catseye"
DEFAULT_CACHE_GB = 10.0
DEFAULT_INT8_DROP = 0.5


class TrainSettings(BaseModel):
    """What ``catseye train`` does: one field is one option, and its docstring is the option's help.

    Raises BadParameter, which names the option, for a value that is out of range or an unknown key.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str
    """Name of the model in the store."""
    backbone: str = "mobilenet_v2"
    """Network to start from; `catseye backbones` lists them."""
    weights: str = "auto"
    """Weights to start from: auto, imagenet, dogs, none, store:NAME, or a file."""
    freeze: Freeze = "auto"
    """How much of the pretrained network to freeze while fine-tuning; head trains only the new classifier."""
    size: int | None = None
    """Height and width of the input in pixels; the network's usual size by default."""
    depths: Depths = "several"
    """Feature maps that the classifier averages: those of the last layer, or of several depths."""
    mirror: Mirror = "horizontal"
    """Flipped copies of the training images to train on too."""
    augment: str = "none"
    """Random augmentation of training images: usual, all, none, or for example 'flip, rotate=15, brightness'."""
    head_epochs: Count = 20
    """Maximum number of epochs for the new classifier alone."""
    epochs: Annotated[int, Field(ge=0, le=100_000)] = 10
    """Maximum number of epochs of fine-tuning. Without pretrained weights: the larger of this and --head-epochs."""
    patience: Count = 10
    """Epochs without a lower validation loss after which training stops. The first epochs rarely improve it."""
    batch_size: Count = 32
    """Images in a training step of fine-tuning."""
    learning_rate: Annotated[float, Field(ge=1e-7, le=1)] = 0.001
    """Learning rate of the new classifier."""
    slower: Annotated[float, Field(ge=10, le=100)] = 100.0
    """Fine-tuning uses a learning rate that is this many times smaller than --learning-rate."""
    layer_decay: Annotated[float, Field(ge=0.05, le=1)] = 1.0
    """In fine-tuning, multiply the learning rate by this for each stage further from the classifier."""
    clip_norm: Annotated[float, Field(ge=0, le=1e6)] = 1.0
    """In fine-tuning, clip the gradient's global norm to this; 0 does not clip."""
    dropout: Annotated[float, Field(ge=0, le=0.95)] = 0.2
    """Fraction of features that are dropped while training the classifier."""
    l2: Annotated[float, Field(ge=0, le=10)] = 1e-4
    """L2 regularization of the classifier's kernel."""
    batch_norm: bool = False
    """Add batch normalization to the classifier."""
    label_smoothing: Annotated[float, Field(ge=0, le=0.9)] = 0.0
    """Fraction of every target that is spread evenly over the classes."""
    class_weights: bool = False
    """Weight images so that every class counts the same in the loss."""
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    """Seed of the split, the initial weights and the order of the images."""
    variant_of: str | None = None
    """Store the model as the fast variant of this model."""
    teacher: str | None = None
    """NAME:VERSION of a stored model whose predictions are learned beside the labels."""
    temperature: Annotated[float, Field(ge=1, le=100)] = 2.0
    """Temperature that softens the teacher's and the student's probabilities."""
    teacher_share: Annotated[float, Field(ge=0, le=1)] = 0.7
    """Weight of the teacher in the loss; the labels have the rest."""
    int8: Int8 = "auto"
    """auto: use int8 only if accuracy drops by at most --int8-drop points; off: float only."""
    int8_drop: Annotated[float, Field(ge=0, le=100)] = DEFAULT_INT8_DROP
    """Accuracy, in percentage points, that int8 may lose on held-out images."""
    allow_unreadable: bool = False
    """Continue where more than 5 % of the files cannot be read."""

    @model_validator(mode="wrap")
    @classmethod
    def _explain(cls, values: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return validate(values)
        except ValidationError as error:
            raise BadParameter(_sentence(error)) from error

    @field_validator("augment")
    @classmethod
    def _same_words(cls, text: str) -> str:
        """The same text for the same augmentation, so that equal runs have equal settings."""
        return str(Augmentation.from_text(text))

    def with_changes(self, **changes: object) -> Self:
        """A copy with other values, which are validated too."""
        return self.from_dict(self.as_dict() | changes)

    def as_dict(self) -> dict[str, object]:
        """For the card and the run folder."""
        return self.model_dump()

    @classmethod
    def from_dict(cls, values: dict[str, object]) -> Self:
        """The settings that ``as_dict`` gave; BadParameter for an unknown key."""
        return cls.model_validate(values)


def catseye_home() -> Path:
    """The folder of caches and run folders: ``CATSEYE_HOME``, by default ``.catseye`` in the current folder."""
    return Path(os.environ.get("CATSEYE_HOME") or DEFAULT_HOME).absolute()


def cache_limit() -> int:
    """Bytes that cached features may take: ``CATSEYE_CACHE_GB``, by default 10 GB; BadParameter where it is wrong."""
    text = os.environ.get("CATSEYE_CACHE_GB") or str(DEFAULT_CACHE_GB)
    try:
        limit = int(float(text) * 1e9)
    except (ValueError, OverflowError):
        limit = -1
    if limit < 0:
        raise BadParameter(f"CATSEYE_CACHE_GB is {text!r}. Give a number of gigabytes, such as 10.")
    return limit


def _sentence(error: ValidationError) -> str:
    """What is wrong with the first bad value, and what to give instead."""
    problem = error.errors()[0]
    key, value = str(problem["loc"][0]), problem["input"]
    field = TrainSettings.model_fields.get(key)
    if field is None:
        return f"The settings have an unknown key {key!r}. Start a new run."
    option = "--" + key.replace("_", "-")
    if choices := get_args(field.annotation) if problem["type"] == "literal_error" else ():
        return f"{option} is {value!r}. Use one of {', '.join(choices)}."
    limits = {name: getattr(rule, name) for rule in field.metadata for name in ("ge", "le") if hasattr(rule, name)}
    if limits:
        return f"{option} is {value}. Use a number from {limits['ge']:g} to {limits['le']:g}."
    return f"{option} is {value!r}. {problem['msg']}."
