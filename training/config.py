"""Every setting of one training run, checked when it is made, and where runs and caches live."""

import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal, get_args

from models.errors import BadParameter
from training.data.augmentation import Augmentation

Freeze = Literal["auto", "head", "most", "few", "none"]
Mirror = Literal["none", "horizontal", "all"]
Depths = Literal["last", "several"]
Int8 = Literal["auto", "off"]

DEFAULT_HOME = ".catseye"
SLOWER_LEAST, SLOWER_MOST = 10.0, 100.0
"""How many times smaller the learning rate of fine-tuning may be: the lecture's range."""
DEFAULT_INT8_DROP = 0.5


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """What ``catseye train`` does; raises BadParameter naming the key and the value."""

    name: str
    backbone: str = "mobilenet_v2"
    weights: str = "auto"
    freeze: Freeze = "auto"
    size: int | None = None
    """Height and width in pixels; the network's usual size by default."""
    depths: Depths = "several"
    """Whether the head sees the last feature map only, or the maps of all taps."""
    mirror: Mirror = "horizontal"
    """Which mirror images are trained on too."""
    augment: str = "none"
    """How training images are varied at random, in the words of ``training.data.augmentation``."""
    head_epochs: int = 20
    """At most so many epochs of the head alone, on cached features."""
    epochs: int = 10
    """At most so many epochs of fine-tuning."""
    patience: int = 10
    """Epochs without a better validation loss before training stops; the rate must fall before the loss does."""
    batch_size: int = 32
    learning_rate: float = 0.001
    slower: float = 100.0
    """A step of fine-tuning moves every layer's outputs so many times less than the head's moved the logits."""
    layer_decay: float = 1.0
    """In fine-tuning each stage learns this many times as fast as the one above it; 1: all alike."""
    clip_norm: float = 1.0
    """Norm that the gradient of a step of fine-tuning may have, all weights together; 0: any."""
    dropout: float = 0.2
    l2: float = 1e-4
    """Weight of the squared kernel, of standardised features, in the loss."""
    batch_norm: bool = False
    label_smoothing: float = 0.0
    class_weights: bool = False
    """Weigh every class as if it had as many images as the others."""
    seed: int = 0
    variant_of: str | None = None
    teacher: str | None = None
    """NAME:VERSION of a stored model whose answers are learnt beside the labels: ``catseye distill``."""
    temperature: float = 2.0
    """How much the teacher's and the student's probabilities are softened, from 1 on."""
    teacher_share: float = 0.7
    """Weight of the teacher in the loss; the labels have the rest."""
    int8: Int8 = "auto"
    """``auto`` serves int8 where it costs at most ``int8_drop`` of accuracy; ``off`` makes no int8 file."""
    int8_drop: float = DEFAULT_INT8_DROP
    """Points of accuracy, hundredths, that int8 may lose on held-out images."""
    allow_unreadable: bool = False
    """Go on where more than one file in twenty cannot be read."""

    def __post_init__(self) -> None:
        for key, kind in {"freeze": Freeze, "mirror": Mirror, "depths": Depths, "int8": Int8}.items():
            self._one_of(key, kind)
        for key in ("head_epochs", "patience", "batch_size"):
            self._between(key, 1, 100_000)
        self._between("epochs", 0, 100_000)
        self._between("seed", 0, 2**31 - 1)
        self._between("learning_rate", 1e-7, 1.0)
        self._between("slower", SLOWER_LEAST, SLOWER_MOST)
        # The same words for the same moves, so that equal runs have equal settings.
        object.__setattr__(self, "augment", str(Augmentation.from_text(self.augment)))
        self._between("layer_decay", 0.05, 1.0)
        self._between("clip_norm", 0.0, 1e6)
        self._between("dropout", 0.0, 0.95)
        self._between("l2", 0.0, 10.0)
        self._between("label_smoothing", 0.0, 0.9)
        self._between("temperature", 1.0, 100.0)
        self._between("teacher_share", 0.0, 1.0)
        self._between("int8_drop", 0.0, 100.0)

    def as_dict(self) -> dict[str, object]:
        """For the card and the run folder."""
        return dict(asdict(self))

    @classmethod
    def from_dict(cls, values: dict[str, object]) -> "TrainSettings":
        """The settings that ``as_dict`` gave; unknown keys are refused by name."""
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            raise BadParameter(f"The settings have an unknown key {unknown[0]!r}. Start the run anew.")
        return cls(**values)  # type: ignore[arg-type]  # __post_init__ checks the values

    def _one_of(self, key: str, kind: object) -> None:
        value, allowed = getattr(self, key), get_args(kind)
        if value not in allowed:
            raise BadParameter(f"{_option(key)} is {value!r}. Use one of {', '.join(allowed)}.")

    def _between(self, key: str, least: float, most: float) -> None:
        value = getattr(self, key)
        if not least <= value <= most:
            raise BadParameter(f"{_option(key)} is {value}. Use a number from {least:g} to {most:g}.")


def catseye_home() -> Path:
    """The folder of caches and run folders: ``CATSEYE_HOME``, by default ``.catseye`` here."""
    return Path(os.environ.get("CATSEYE_HOME") or DEFAULT_HOME).absolute()


def _option(key: str) -> str:
    return "--" + key.replace("_", "-")
