"""The model that all serve: a network at 224 pixels with random weights, in Keras, float32 and int8."""

import os
import shutil
import tempfile
from pathlib import Path

from benchmarks.runtime import make_model
from models.export.head import write_head
from models.network.classifier import head_arrays, load_classifier
from models.store import store
from models.store.store import StoredModel

BACKBONE = "mobilenet_v2"


def stored_model(state: Path, backbone: str = BACKBONE) -> StoredModel:
    """The model in its own store under ``state``, made at the first call."""
    os.environ["BENTOML_HOME"] = str((state / ("store" if backbone == BACKBONE else f"store-{backbone}")).absolute())
    there = store.list_models("bench")
    return there[-1] if there else _make(backbone)


def _make(backbone: str) -> StoredModel:
    with tempfile.TemporaryDirectory() as scratch:
        made = make_model(Path(scratch), backbone)
        kernel, bias = head_arrays(load_classifier(made.keras_path, made.card))

        def write(folder: Path) -> None:
            shutil.copy(made.keras_path, folder)
            shutil.copytree(made.path / "openvino", folder / "openvino")
            write_head(folder, {"float32": (kernel, bias)})

        return store.save(made.card, write)
