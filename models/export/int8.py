"""OpenVINO float32 to int8, quantised after training with NNCF; the head stays in float32 and is fitted anew."""

import contextlib
import importlib
import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from models.arrays import Floats, Pixels
from models.card import Export
from models.environment import has_bfloat16, load_openvino, no_telemetry
from models.errors import BadData, StoreError
from models.export.head import HeadArrays, read_head, write_head
from models.export.openvino import EMBEDDING, INPUT, LOGITS, export_path, write_network

Preset = Literal["mixed", "performance"]
"""``performance`` quantises activations symmetrically, which suits ReLU; ``mixed`` asymmetrically, which suits
activations with negative values, such as swish."""

_PENALTIES = np.logspace(-2, 6, 33)
_SMALLEST_DEVIATION = 1e-3
"""Of the largest one: a lower bound, since features that hardly vary would be scaled up."""


def preset_for(backbone: str) -> Preset:
    """The quantisation that suits a backbone's activations."""
    return "mixed" if backbone.startswith("efficientnet") else "performance"


def quantize(
    folder: Path,
    images: Iterable[Pixels],
    preset: Preset = "performance",
    *,
    spared: int = 0,
    refit_on: Iterable[tuple[Pixels, Floats]] = (),
) -> Export:
    """Write ``openvino/int8.xml`` and ``.bin`` beside the float32 files of a model's ``folder``.

    ``images`` (height, width, 3) calibrate the ranges: some hundred of the training images, decoded as in
    serving. The averages and the head stay in float32, which costs nothing and keeps class activation exact.
    The first ``spared`` convolutions stay in float32 too, since later layers cannot recover what they lose.
    ``refit_on`` gives batches (batch, height, width, 3) of more training images with the float network's logits (batch,
    classes): the head is fitted to give these from the quantised network's embedding, and ``head.npz`` holds it too.
    Raises ``BadData`` without images of the model's size, ``StoreError`` without a float32 export.
    """
    openvino = load_openvino()
    path = folder / export_path("float32")
    if not path.is_file():
        raise StoreError(f"{path} is missing, so there is nothing to quantise. Export the model first.")
    core = openvino.Core()
    core.set_property({"ENABLE_MMAP": False})
    model = core.read_model(path)
    shape = tuple(dimension.get_length() for dimension in list(model.input(INPUT).partial_shape)[1:])
    batches = [_checked(image, shape)[None] for image in images]
    if not batches:
        raise BadData("Quantisation needs images to calibrate with, and got none. Give some of the training images.")
    with no_telemetry(), _quiet():
        nncf = importlib.import_module("nncf")
        quantized = nncf.quantize(
            model,
            nncf.Dataset(batches),
            preset=nncf.QuantizationPreset(preset),
            subset_size=len(batches),
            # Layer by layer, on the quantised output of the layers below: slower and more accurate (decision 0009).
            fast_bias_correction=False,
            ignored_scope=nncf.IgnoredScope(
                names=[*head_operations(model), *_convolutions(model)[:spared]], validate=False
            ),
        )
    early = f", the first {spared} convolutions in float32" if spared else ""
    note = f"{preset} preset{early}, calibrated on {len(batches)} images"
    embedding, logits = _embeddings(core, quantized, refit_on)
    if len(embedding):
        float_head = read_head(folder)
        head = refit(float_head, embedding, logits)
        write_head(folder, {"float32": float_head, "int8": head})
        _put_head(quantized, head)
        note += f", head fitted on {len(embedding)}"
    return write_network(quantized, folder, "int8").model_copy(update={"note": note})


def refit(head: HeadArrays, embedding: Floats, logits: Floats) -> HeadArrays:
    """The head changed so that ``embedding`` (images, features) gives the wanted ``logits`` (images, classes).

    Ridge regression of the residuals on the standardised features, so a large penalty leaves the head unchanged; the
    penalty minimises generalised cross-validation (Golub, Heath and Wahba 1979). In the dual form, whose cost grows
    with the images and not with the features, of which there may be thousands.
    """
    kernel, bias = (part.astype(np.float64) for part in head)
    features = embedding.astype(np.float64)
    mean, deviation = features.mean(0), features.std(0)
    deviation = np.maximum(deviation, max(_SMALLEST_DEVIATION * deviation.max(), np.finfo(np.float32).tiny))
    standard = (features - mean) / deviation
    residuals = logits - (features @ kernel + bias)
    offset = residuals.mean(0)
    values, vectors = np.linalg.eigh(standard @ standard.T)
    values = np.maximum(values, 0)
    seen = vectors.T @ (residuals - offset)
    penalty = min(_PENALTIES, key=lambda each: _cross_validation(each, values, seen))
    change = standard.T @ (vectors @ (seen / (values + penalty)[:, None])) / deviation[:, None]
    return (kernel + change).astype(np.float32), (bias + offset - mean @ change).astype(np.float32)


def _convolutions(model: Any) -> list[str]:
    """Names of the convolutions in the order of their computation."""
    kinds = ("Convolution", "GroupConvolution")
    return [node.get_friendly_name() for node in model.get_ordered_ops() if node.get_type_name() in kinds]


def _embeddings(core: Any, quantized: Any, batches: Iterable[tuple[Pixels, Floats]]) -> tuple[Floats, Floats]:
    """Embedding (images, features) from the quantised network, and the logits (images, classes) of these images."""
    alone = quantized.clone()
    for node in [port.get_node() for port in alone.outputs if port.get_any_name() != EMBEDDING]:
        alone.remove_result(node)
    # The layers that are not quantised run in the precision that serving uses.
    rest = "bf16" if has_bfloat16() else "f32"
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": rest, "ENABLE_CPU_PINNING": False}
    network = core.compile_model(alone, "CPU", settings)
    pairs = [(np.array(network(batch)[0], np.float32), logits) for batch, logits in batches]
    if not pairs:
        return np.empty((0, 0), np.float32), np.empty((0, 0), np.float32)
    embedding, logits = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    return embedding, logits


def _put_head(model: Any, head: HeadArrays) -> None:
    """Replace the operations between embedding and logits by that head."""
    ops = load_openvino().opset1
    kernel, bias = (ops.constant(part) for part in head)
    embedding = model.output(EMBEDDING).get_node().input_value(0)
    logits = ops.add(ops.matmul(embedding, kernel, False, False), bias)
    model.output(LOGITS).get_node().input(0).replace_source_output(logits.output(0))
    model.validate_nodes_and_infer_types()


def head_operations(model: Any) -> list[str]:
    """Names of the operations between the maps (without maps: the embedding) and the logits."""
    taps = [output for output in model.outputs if output.get_any_name().startswith("tap_")]
    ends = set()
    for output in taps or [model.output(EMBEDDING)]:
        node = _producer(output)
        ends.add(node.get_friendly_name())
        while node.get_type_name() == "Transpose":
            node = node.input_value(0).get_node()
            ends.add(node.get_friendly_name())
    found: dict[str, None] = {}
    waiting = [_producer(model.output(LOGITS))]
    while waiting:
        node = waiting.pop()
        name = node.get_friendly_name()
        if name in ends or name in found or node.get_type_name() in ("Constant", "Parameter"):
            continue
        found[name] = None
        waiting.extend(source.get_source_output().get_node() for source in node.inputs())
    return list(found)


def _cross_validation(penalty: float, values: NDArray[np.float64], seen: NDArray[np.float64]) -> float:
    """Generalised cross-validation of a penalty, from the eigenvalues and the residuals in their directions."""
    left = penalty / (values + penalty)
    # The mean is fitted too, which is one more degree of freedom.
    return float(np.sum((left[:, None] * seen) ** 2) / max(left.sum() - 1, 1e-9) ** 2)


def _checked(image: Pixels, shape: tuple[int, ...]) -> Pixels:
    if image.shape != shape or image.dtype != np.uint8:
        raise BadData(
            f"An image to calibrate with is {image.dtype} {image.shape}, and the model takes uint8 {shape}. "
            "Decode images to the model's size."
        )
    return image


def _producer(output: Any) -> Any:
    return output.get_node().input_value(0).get_node()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide NNCF's progress bars and log; training shows its own."""
    logger = logging.getLogger("nncf")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
            yield
    finally:
        logger.setLevel(level)
