"""``catseye import``: an existing Keras classifier becomes a stored one, with taps, exports and a card.

Its weights go into catseye's own graph of the same network, which is recognised by its convolutions.
"""

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from models.card import Card
from models.errors import BadData
from models.files import sha256_of
from models.network.backbones import BACKBONES, Backbone, get_backbone
from models.network.classifier import LOGITS, Classifier, HeadSpec, build_classifier, split_number
from models.network.pretrained import load_weights
from models.store import store
from models.store.store import StoredModel, check_name
from training.config import catseye_home
from training.interop.keras_file import KerasFile, Layer, convolutions
from training.publish.publish import export_files, versions


def read_labels(path: Path) -> tuple[str, ...]:
    """One label a line, in the order of the outputs."""
    try:
        labels = tuple(line.strip() for line in path.read_text("utf-8-sig").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise BadData(f"The labels in {path} cannot be read. Give a text file in UTF-8 with one a line.") from error
    if len(labels) < 2:
        raise BadData(f"{path} holds {len(labels)} labels, and a classifier needs two. Write one a line.")
    twice = [label for label, times in Counter(labels).items() if times > 1]
    if twice:
        raise BadData(
            f"{path} holds some labels more than once: {', '.join(map(repr, twice[:5]))}. "
            "Tell them apart, such as 'crane (bird)' and 'crane (machine)'."
        )
    return labels


def import_keras(path: Path, name: str, labels: tuple[str, ...], backbone: str | None = None) -> StoredModel:
    """Store the classifier in a ``.keras`` or legacy ``.h5`` file; BadData says what in it is not understood.

    The network that it is made of is recognised, or given as ``backbone``.
    """
    check_name(name)
    file = KerasFile.read(path)
    classifier = _network(file, backbone, len(labels))
    file.refuse_strange_layers(classifier)
    provenance = load_weights(classifier, str(path))
    classifier.model.get_layer(LOGITS).set_weights(file.head(classifier))
    folder = catseye_home() / "imports" / sha256_of(path)[:16]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        card = Card(
            name=name,
            labels=labels,
            backbone=classifier.backbone.name,
            input_size=classifier.input_size,
            weights=provenance,
            settings={"imported": path.name},
            taps=classifier.taps,
            head=classifier.head,
            exports=(export_files(classifier, folder),),
            parameters=classifier.model.count_params(),
            versions=versions(),
        )
        return store.save(card, lambda target: shutil.copytree(folder, target, dirs_exist_ok=True))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _network(file: KerasFile, backbone: str | None, classes: int) -> Classifier:
    """The network whose convolutions are those of the file, one after the other."""
    size, wanted = file.input_size, convolutions(file.layers)
    for row in [get_backbone(backbone)] if backbone else _relatives(file.layers):
        classifier = build_classifier(row, classes, input_size=size, head=HeadSpec(dropout=0.0))
        own = (
            {"class_name": type(layer).__name__, "config": layer.get_config()} for layer in classifier.backbone_layers()
        )
        if convolutions(own) == wanted:
            return classifier
    if backbone:
        raise BadData(
            f"{file.path} is made of another network than {backbone}. Leave --backbone out, and it is recognised."
        )
    raise BadData(
        f"{file.path} is made of no network that catseye knows. `catseye backbones` lists those, in their usual widths."
    )


def _relatives(layers: Iterable[Layer]) -> Iterator[Backbone]:
    """The networks whose marked layers have names that occur in the file, but for Keras's numbers."""
    names = {split_number(layer["config"]["name"])[0] for layer in layers}
    for row in BACKBONES.values():
        if row.pretrained and {split_number(name)[0] for name in (*row.taps, *row.freeze_points.values())} <= names:
            yield row
