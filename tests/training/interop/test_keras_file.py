import copy
import json
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import keras
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.errors import BadData
from models.network.classifier import HeadSpec, build_classifier
from training.interop.import_keras import KerasFile, convolutions

CLASSIFIER = build_classifier("mobilenet_v2", 2, input_size=32, head=HeadSpec(dropout=0.0))
ODD = st.sampled_from([None, 0, -1, 1e9, "", "x", [], {}, [1], {"a": 1}, True, "Dense", "Sequential", "InputLayer"])


def guides_model() -> keras.Model:
    """As Keras's guide to transfer learning makes it, with a network of one convolution."""
    x = base_input = keras.Input((32, 32, 3))
    base = keras.Model(base_input, keras.layers.Conv2D(4, 3)(x))
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.RandomFlip("horizontal")(inputs)
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(x)
    x = keras.layers.GlobalAveragePooling2D()(base(x))
    return keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(x))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keras") / "model.keras"
    guides_model().save(path)
    return path


def places(part: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something stands in nested lists and mappings."""
    inner = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
    return [place for key, value in inner for place in [(*above, key), *places(value, (*above, key))]]


def test_a_file_tells_its_size_and_convolutions(saved: Path) -> None:
    file = KerasFile.read(saved)
    assert file.input_size == (32, 32)
    assert convolutions(file.layers) == [("Conv2D", 4)]
    file.check_layers(CLASSIFIER)
    with pytest.raises(BadData, match="no dense layer from 1280 features to 2 labels"):
        file.head(CLASSIFIER)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_settings_of_any_kind_are_bad_data_at_worst(saved: Path, tmp_path: Path, data: st.DataObject) -> None:
    with zipfile.ZipFile(saved) as archive:
        config = json.loads(archive.read("config.json"))
    changed = copy.deepcopy(config)
    *above, last = data.draw(st.sampled_from(places(config)))
    part = changed
    for key in above:
        part = part[key]
    part[last] = data.draw(ODD)
    path = tmp_path / "changed.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(changed))
    with suppress(BadData):
        file = KerasFile.read(path)
        assert len(file.input_size) == 2
        convolutions(file.layers)
        file.check_layers(CLASSIFIER)
        file.head(CLASSIFIER)
