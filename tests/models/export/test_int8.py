from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.arrays import softmax
from models.environment import load_openvino
from models.errors import BadData, StoreError
from models.export.head import read_head, write_head
from models.export.int8 import head_operations, preset_for, quantize, refit
from models.export.openvino import export_openvino, export_path
from models.network.classifier import head_arrays
from tests.support.networks import answers, images, network, stored

openvino = load_openvino()


def compile_export(path: Path) -> Any:
    return openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


def data(images: int, features: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features of very different sizes, and a head."""
    random = np.random.default_rng(seed)
    embedding = (random.normal(size=(images, features)) * np.logspace(-3, 1, features) + 2).astype(np.float32)
    return embedding, random.normal(size=(features, 3)).astype(np.float32), random.normal(size=3).astype(np.float32)


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
    kernel, bias = read_head(model.path)
    pixels = images(8, size)
    expected, found = answers(network(backbone, "several", size), pixels), compile_export(path)(pixels)
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
    before = compile_export(tmp_path / export_path("int8"))(others)["logits"]
    wanted = compile_export(tmp_path / export_path("float32"))(seen)["logits"]
    pairs = [(seen[:32], wanted[:32]), (seen[32:], wanted[32:])]
    export = quantize(tmp_path, images(8, 64), refit_on=pairs)
    assert export.note.endswith(", head fitted on 48")
    kernel, bias = read_head(tmp_path, "int8")
    np.testing.assert_array_equal(read_head(tmp_path)[0], plain[0])
    found, wanted = (
        compile_export(tmp_path / export_path("int8"))(others),
        compile_export(tmp_path / export_path("float32"))(others),
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
    assert not (tmp_path / export_path("int8")).exists()


@pytest.mark.parametrize(("images", "features"), [(400, 20), (40, 200)])
def test_a_head_whose_answers_are_right_stays_as_it_is(images: int, features: int) -> None:
    embedding, kernel, bias = data(images, features)
    new_kernel, new_bias = refit((kernel, bias), embedding, embedding @ kernel + bias)
    np.testing.assert_allclose(new_kernel, kernel, atol=1e-3)
    np.testing.assert_allclose(embedding @ new_kernel + new_bias, embedding @ kernel + bias, atol=1e-3)


@pytest.mark.parametrize(("images", "features"), [(1000, 50), (300, 600)])
def test_what_rounding_did_is_made_good_on_images_that_were_not_seen(images: int, features: int) -> None:
    embedding, kernel, bias = data(2 * images, features)
    wanted = embedding @ kernel + bias
    random = np.random.default_rng(1)
    spread = embedding.std(0)
    shifted = embedding * random.uniform(0.8, 1.25, features) + spread * random.normal(size=features)
    rounded = (shifted + 0.05 * spread * random.normal(size=embedding.shape)).astype(np.float32)
    own = rounded @ kernel + bias
    fitted_kernel, fitted_bias = refit((kernel, bias), rounded[:images], wanted[:images])
    fitted = rounded @ fitted_kernel + fitted_bias
    assert fitted_kernel.dtype == fitted_bias.dtype == np.float32
    error = np.sqrt(np.mean((fitted - wanted)[images:] ** 2))
    assert error < 0.2 * np.sqrt(np.mean((own - wanted)[images:] ** 2))


def test_features_that_never_vary_do_no_harm() -> None:
    embedding, kernel, bias = data(50, 8)
    embedding[:, 0] = 3
    found = refit((kernel, bias), embedding, embedding @ kernel + bias + 1)
    assert all(np.isfinite(part).all() for part in found)
    np.testing.assert_allclose(embedding @ found[0] + found[1], embedding @ kernel + bias + 1, atol=1e-3)
