import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.environment import load_openvino
from models.errors import StoreError
from models.export.openvino import export_openvino, export_path
from models.files import sha256_of
from tests.support.networks import answers, images, network, stored

openvino = load_openvino()

SMALL = [("cnn", 32), ("mlp", 16), ("mobilenet_v2", 64), ("efficientnet_b0", 32)]


def compiled(path: Path) -> Any:
    return openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


@pytest.mark.parametrize(("backbone", "size"), SMALL)
def test_an_export_has_the_named_outputs_and_answers_as_keras(backbone: str, size: int) -> None:
    model = compiled(stored(backbone, "several", size, int8=backbone != "efficientnet_b0").export_path())
    assert [port.get_any_name() for port in model.inputs] == ["image"]
    assert model.inputs[0].element_type == openvino.Type.u8
    assert model.inputs[0].partial_shape == openvino.PartialShape([-1, size, size, 3])
    for count in (1, 3):
        pixels = images(count, size, seed=count)
        expected, found = answers(network(backbone, "several", size), pixels), model(pixels)
        assert [port.get_names() for port in model.outputs] == [{name} for name in expected]
        for name, values in expected.items():
            np.testing.assert_allclose(found[name], values, atol=1e-4 * np.abs(values).max(), rtol=1e-3)


def test_what_an_export_writes(tmp_path: Path) -> None:
    for _ in range(2):
        export = export_openvino(network("cnn"), tmp_path)
        assert export.file == export_path("float32") == "openvino/float32.xml"
        assert export.sha256 == sha256_of(tmp_path / "openvino" / "float32.bin")
        assert sorted(path.name for path in (tmp_path / "openvino").iterdir()) == ["float32.bin", "float32.xml"]


def test_a_full_disk_is_a_store_error(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(StoreError, match="could not be written"):
            export_openvino(network("cnn"), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
