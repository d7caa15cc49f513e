"""The fifteen pretrained networks and the two baselines: one row of data each, in ``backbones.toml``.

This module imports neither Keras nor TensorFlow, so that serving can read the table.
"""

import difflib
import fnmatch
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from models.errors import BadParameter

Preprocessing = Literal["tf", "caffe", "torch", "inside", "none"]
"""``tf``: [-1, 1]; ``caffe``: BGR less the ImageNet mean; ``torch``: ImageNet mean and deviation;
``inside``: the network does it itself (EfficientNet); ``none``: pixels as they are."""

FreezePoint = Literal["most", "few"]


@dataclass(frozen=True, kw_only=True)
class ImagenetFile:
    """Where Keras publishes the weights without the ImageNet classifier."""

    path: str
    """Below the download base, by default ``https://storage.googleapis.com``."""
    md5: str | None
    """From the source of ``keras.applications`` (3.15), which has none for MobileNet and MobileNetV2."""

    @property
    def name(self) -> str:
        """The file's own name."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """A network without its classifier: how to build it, its input, and its layers of interest."""

    name: str
    title: str
    builder: str
    """Dotted path of a function ``(include_top=False, weights=None, input_tensor=...) -> keras.Model``."""
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


def _row(name: str, values: dict[str, Any]) -> Backbone:
    weights, md5 = values.pop("weights", None), values.pop("md5", None)
    values.setdefault("builder", f"keras.applications.{values['title']}")
    values["taps"] = tuple(values["taps"])
    values["freeze_points"] = MappingProxyType(values["freeze_points"])
    return Backbone(name=name, imagenet=ImagenetFile(path=weights, md5=md5) if weights else None, **values)


_TABLE = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
BACKBONES: Mapping[str, Backbone] = MappingProxyType({name: _row(name, values) for name, values in _TABLE.items()})
"""Every network by name, in the lecture's order, the baselines last."""


def get_backbone(name: str) -> Backbone:
    """The row called ``name``; Keras's spelling ("MobileNetV2") does too.

    Raises BadParameter that names the nearest rows.
    """
    found = _BY_SPELLING.get(_spelling(name))
    if found is not None:
        return found
    near = difflib.get_close_matches(_spelling(name), _BY_SPELLING, n=3, cutoff=0.5)
    names = ", ".join(_BY_SPELLING[spelling].name for spelling in near) or ", ".join(BACKBONES)
    raise BadParameter(f"There is no backbone called {name!r}. Choose one of: {names}.")


def list_backbones(pattern: str = "*") -> list[Backbone]:
    """The rows whose name fits a shell pattern such as ``resnet*``, in table order; none is an empty list."""
    wanted = pattern.casefold()
    return [row for row in BACKBONES.values() if fnmatch.fnmatchcase(row.name, wanted)]


def _spelling(name: str) -> str:
    """Letters and digits only, in lower case: what "MobileNetV2" and "mobilenet_v2" have in common."""
    return re.sub(r"[^a-z0-9]", "", name.casefold())


_BY_SPELLING = {_spelling(row.name): row for row in BACKBONES.values()}
