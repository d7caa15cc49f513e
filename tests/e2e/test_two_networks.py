"""A model that somebody else trained is imported and served beside one of ours, each with its own taps."""

import os
import subprocess
import sys
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from models.image.decode import decode
from models.network.downloads import dogs_file
from tests.support import ROOT
from tests.support import servers as server
from tests.support.images import png
from tests.support.networks import make_model

pytestmark = pytest.mark.long

LABELS = ROOT / "docs" / "dog-breeds.txt"
PHOTOGRAPH = png(160, 160, seed=3)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """A server with the dog breeds, imported as a user would, and a small network of our own."""
    home = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTOML_HOME", str(home))
        make_model("cells", backbone="cnn", size=64, labels=("defective", "functional"))
    command = ["import", str(dogs_file()), "--name", "dog-breeds", "--labels", str(LABELS)]
    subprocess.run(
        [sys.executable, "-m", "catseye", *command], env=os.environ | {"BENTOML_HOME": str(home)}, cwd=ROOT, check=True
    )
    with server.serving(home, CATSEYE_DEFAULT_MODEL="cells") as running:
        yield running


def test_the_imported_model_answers_as_keras_does_with_the_same_file(both):
    answer = both.client.post("/v1/classify?model=dog-breeds&top_k=19", content=PHOTOGRAPH).json()
    given = {each["label"]: each["probability"] for each in answer["predictions"]}
    wanted = dict(zip(LABELS.read_text().splitlines(), by_keras(dogs_file()), strict=True))
    assert given == pytest.approx(wanted, abs=1e-3)


def test_each_model_has_its_own_labels_and_taps(both):
    cells, dogs = (both.client.get(f"/v1/models/{name}").json() for name in ("cells", "dog-breeds"))
    assert (cells["labels"], len(dogs["labels"])) == (["defective", "functional"], 19)
    assert dogs["taps"][0]["shape"] == [80, 80, 32]
    for model in (cells, dogs):
        for tap in model["taps"]:
            query = {"model": model["name"], "layer": tap["name"]}
            layer = both.client.post("/v1/feature-maps", params=query, content=PHOTOGRAPH).json()["layers"][0]
            assert (layer["name"], layer["shape"]) == (tap["name"], tap["shape"])
    unknown = both.client.post("/v1/feature-maps?model=cells&layer=block_3_add", content=PHOTOGRAPH)
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_layer")


def by_keras(path: Path) -> np.ndarray:
    """Probabilities (19,) of the photograph, by Keras's own network with the weights as the file names them."""
    network = keras.applications.MobileNetV2(input_shape=(160, 160, 3), include_top=False, weights=None, pooling="avg")
    with h5py.File(path) as file:
        base = file["model_weights"]["mobilenetv2_1.00_160"]
        for layer in network.layers:
            if layer.weights:
                layer.set_weights([base[layer.name][weight.name][()] for weight in layer.weights])
        dense = file["model_weights"]["dense"]["dense"]
        kernel, bias = dense["kernel"][()], dense["bias"][()]
    pixels = keras.applications.mobilenet_v2.preprocess_input(decode(PHOTOGRAPH)[None].astype(np.float32))
    logits = np.asarray(network.predict(pixels, verbose=0))[0] @ kernel + bias
    exponentials = np.exp(logits - logits.max())
    return exponentials / exponentials.sum()
