import zipfile
from pathlib import Path

import keras
import pytest

from models.errors import BadData
from models.keras_config import read_config, refuse_code
from models.network.classifier import HeadSpec, build_classifier

PATH = Path("some.keras")


@pytest.mark.parametrize("backbone", ["cnn", "mobilenet_v2", "densenet121", "inception_v3", "efficientnet_b0"])
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_keras_s_own_layers_pass(backbone: str, suffix: str, tmp_path: Path) -> None:
    head = HeadSpec(batch_norm=True, l2=1e-4)
    model = build_classifier(backbone, 3, input_size=96, head=head).model
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    model.save(tmp_path / f"model{suffix}")
    config = read_config(tmp_path / f"model{suffix}")
    assert config["config"]["name"] == backbone
    refuse_code(config, PATH)


@pytest.mark.parametrize(
    "part",
    [
        {"class_name": "Lambda", "module": "keras.layers", "config": {}},
        {"class_name": "TFOpLambda", "config": {}},
        {"class_name": "__lambda__", "config": {"value": "..."}},
        {"class_name": "Thing", "module": "os.path", "config": {}},
        {"class_name": "Thing", "module": "keras_tools.layers", "config": {}},
        {"class_name": "Thing", "module": "keras.layers", "registered_name": "mine>Thing", "config": {}},
    ],
)
def test_code_is_refused_at_any_depth(part: dict[str, object]) -> None:
    plain = {"class_name": "Dense", "module": "keras.layers", "registered_name": None, "config": {"units": 3}}
    refuse_code({"config": {"layers": [plain]}}, PATH)
    with pytest.raises(BadData, match=r"some\.keras .*, which holds code"):
        refuse_code({"config": {"layers": [plain, {"config": {"layer": {"inner": [part]}}}]}}, PATH)


def test_a_lambda_that_keras_saved_is_refused(tmp_path: Path) -> None:
    image = keras.Input((4,))
    keras.Model(image, keras.layers.Lambda(lambda x: x + 1)(image)).save(tmp_path / "model.keras")
    with pytest.raises(BadData, match="'Lambda'"):
        refuse_code(read_config(tmp_path / "model.keras"), PATH)


@pytest.mark.parametrize("text", [None, "", "{", "[]", "[" * 100_000, "1", '"text"'])
def test_what_is_no_model_is_one_error(text: str | None, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as file:
        file.writestr("metadata.json", "{}")
        if text is not None:
            file.writestr("config.json", text)
    with pytest.raises(BadData, match="holds no Keras model"):
        read_config(tmp_path / "model.keras")
    (tmp_path / "model.h5").write_bytes(b"\x89HDF")
    with pytest.raises(BadData, match="holds no Keras model"):
        read_config(tmp_path / "model.h5")
    with pytest.raises(BadData, match="holds no Keras model"):
        read_config(tmp_path / "none.h5")
