"""What the table of networks says about each: a frozen row of data.

Imports neither Keras nor TensorFlow, so that serving can read the table.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Preprocessing = Literal["tf", "caffe", "torch", "inside", "none"]
"""``tf``: [-1, 1]; ``caffe``: BGR less the ImageNet mean; ``torch``: ImageNet mean and deviation;
``inside``: the network does it itself (EfficientNet); ``none``: pixels as they are."""

FreezePoint = Literal["most", "few"]


@dataclass(frozen=True, kw_only=True)
class ImagenetFile:
    """Where Keras publishes the weights without the ImageNet classifier."""

    path: str
    """Below the download base, by default ``https://storage.googleapis.com``."""
    md5: str | None = None
    """As Keras gives it; it gives none for the two MobileNets."""

    @property
    def name(self) -> str:
        """The file's own name."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """A network without its classifier: what to build, what it eats, and where to look inside."""

    name: str
    title: str
    builder: str
    """Dotted path of a function ``(include_top=False, weights=None, input_tensor=...) -> keras.Model``."""
    preprocess_module: str | None
    """Keras module whose ``preprocess_input`` and weights go together; None for the baselines."""
    preprocessing: Preprocessing
    input_size: int
    """Default height and width in pixels."""
    min_size: int
    """Smallest height or width that the network takes."""
    parameters: int
    """With a classifier of 1,000 classes, at ``input_size``."""
    taps: tuple[str, ...]
    """Layers whose maps can be read, early to late; the last is the final map before pooling."""
    freeze_points: Mapping[FreezePoint, str] = field(hash=False)
    """First layer that is trained again when ``most`` or a ``few`` of the layers are frozen."""
    imagenet: ImagenetFile | None
    about: str
    paper: str
    year: int

    @property
    def pretrained(self) -> bool:
        """True where ImageNet weights exist."""
        return self.imagenet is not None
