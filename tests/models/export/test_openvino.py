import resource
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.environment import load_openvino
from models.errors import BadData, BadParameter, StoreError
from models.export.head import read_head, write_head
from models.export.openvino import export_openvino, export_path, head_operations, preset_for, quantize
from models.files import sha256_of
from models.network.classifier import head_arrays
from models.runtime.base import softmax
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


@pytest.mark.parametrize(("backbone", "size"), [("cnn", 36), ("mobilenet_v2", 64)])
def test_int8_is_int8_but_for_the_head_and_stays_close(backbone: str, size: int) -> None:
    model = stored(backbone, "several", size)
    path = model.export_path("int8")
    graph = openvino.Core().read_model(path)
    kinds = Counter(node.get_type_name() for node in graph.get_ops())
    assert kinds["FakeQuantize"] >= kinds["Convolution"] > 0
    assert not {"Convolution", "GroupConvolution"} & {
        node.get_type_name() for node in graph.get_ops() if node.get_friendly_name() in head_operations(graph)
    }
    kernel, bias = model.head()
    pixels = images(8, size)
    expected, found = answers(network(backbone, "several", size), pixels), compiled(path)(pixels)
    np.testing.assert_allclose(found["embedding"] @ kernel + bias, found["logits"], atol=1e-4)
    assert np.abs(softmax(found["logits"]) - softmax(expected["logits"])).mean() < 0.1
    assert model.path.joinpath("openvino/int8.bin").stat().st_size < (
        0.5 * model.path.joinpath("openvino/float32.bin").stat().st_size
    )


def test_spared_convolutions_stay_in_float32(tmp_path: Path) -> None:
    export_openvino(network("cnn"), tmp_path)

    def quantised_weights() -> list[bool]:
        graph = openvino.Core().read_model(tmp_path / export_path("int8"))
        found = [node for node in graph.get_ordered_ops() if node.get_type_name() == "Convolution"]
        return [node.input_value(1).get_node().get_type_name() == "Multiply" for node in found]

    quantize(tmp_path, images(4, 32))
    whole = quantised_weights()
    assert all(whole)
    export = quantize(tmp_path, images(4, 32), spared=1)
    assert quantised_weights() == [False, *whole[1:]]
    assert export.note == "performance preset, the first 1 convolutions in float32, calibrated on 4 images"


def test_the_head_of_int8_gives_the_float_networks_logits_and_is_kept(tmp_path: Path) -> None:
    classifier = network("mobilenet_v2", "several", 64)
    export_openvino(classifier, tmp_path)
    plain = head_arrays(classifier)
    write_head(tmp_path, {"float32": plain})
    seen, others = images(48, 64), images(16, 64, seed=1)
    quantize(tmp_path, images(8, 64))
    before = compiled(tmp_path / export_path("int8"))(others)["logits"]
    wanted = compiled(tmp_path / export_path("float32"))(seen)["logits"]
    pairs = [(seen[:32], wanted[:32]), (seen[32:], wanted[32:])]
    export = quantize(tmp_path, images(8, 64), refit_on=pairs)
    assert export.note.endswith(", head fitted on 48")
    kernel, bias = read_head(tmp_path, "int8")
    np.testing.assert_array_equal(read_head(tmp_path)[0], plain[0])
    found, wanted = (
        compiled(tmp_path / export_path("int8"))(others),
        compiled(tmp_path / export_path("float32"))(others),
    )
    np.testing.assert_allclose(found["embedding"] @ kernel + bias, found["logits"], atol=1e-4)
    assert np.abs(found["logits"] - wanted["logits"]).mean() < np.abs(before - wanted["logits"]).mean()


def test_notes_and_presets() -> None:
    assert preset_for("efficientnet_b7") == "mixed"
    assert preset_for("mobilenet_v2") == "performance"
    assert stored("cnn").card.exports[1].note == "performance preset, calibrated on 8 images"


def test_calibration_images_are_checked(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="nothing to quantise"):
        quantize(tmp_path, [])
    export_openvino(network("cnn"), tmp_path)
    with pytest.raises(BadData, match="got none"):
        quantize(tmp_path, [])
    for wrong in (images(1, 16)[0], images(1, 32), images(1, 32)[0].astype(np.float32)):
        with pytest.raises(BadData, match="Decode images"):
            quantize(tmp_path, [wrong])
    with pytest.raises(BadParameter, match="no quantisation preset"):
        quantize(tmp_path, images(1, 32), "fast")  # type: ignore[arg-type]  # what a caller without types may pass
    assert not (tmp_path / export_path("int8")).exists()


def test_a_failed_export_leaves_the_old_one(tmp_path: Path) -> None:
    export = export_openvino(network("cnn"), tmp_path)
    before = (tmp_path / export.file).read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(StoreError, match="could not be written"):
            export_openvino(network("cnn"), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / export.file).read_bytes() == before
    assert export.sha256 == sha256_of(tmp_path / "openvino" / "float32.bin")
    assert len(list((tmp_path / "openvino").iterdir())) == 2
