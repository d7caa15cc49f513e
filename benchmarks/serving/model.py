"""The model that all serve: MobileNetV2 at 224 pixels with random weights, in Keras, float32 and int8."""

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.runtime import make_model
from models import store
from models.classifier import head_arrays, load_classifier
from models.store import StoredModel


def stored_model(home: Path) -> StoredModel:
    """The model in the store under ``home``, made at the first call."""
    os.environ["BENTOML_HOME"] = str(home)
    there = store.list_models("bench")
    return there[-1] if there else _make()


def _make() -> StoredModel:
    with tempfile.TemporaryDirectory() as scratch:
        made = make_model(Path(scratch))
        kernel, bias = head_arrays(load_classifier(made.keras_path, made.card))

        def write(folder: Path) -> None:
            shutil.copy(made.keras_path, folder)
            shutil.copytree(made.path / "openvino", folder / "openvino")
            np.savez(folder / store.HEAD_FILE, kernel=kernel, bias=bias)

        return store.save(made.card, write)
