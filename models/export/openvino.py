"""Keras to OpenVINO: the files that serving runs, in float32 and, quantised after training, in int8.

Both take ``image``, uint8 (batch, height, width, 3) with any batch, and give ``logits``, ``embedding`` and
every map ``tap_0`` ... ``tap_n`` as float32.
"""

import contextlib
import importlib
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from models.arrays import Floats
from models.card import Export, FilePrecision
from models.environment import has_bfloat16, load_openvino, no_telemetry
from models.errors import BadData, BadParameter, StoreError
from models.export.head import HeadArrays, read_head, refit, write_head
from models.files import sha256_of, sync, sync_tree

if TYPE_CHECKING:
    from models.network.classifier import Classifier

Preset = Literal["mixed", "performance"]
"""``performance`` has symmetric activations, which suits ReLU; ``mixed`` has asymmetric ones where values go
below zero, as after swish."""

INPUT = "image"
LOGITS = "logits"
EMBEDDING = "embedding"


def export_path(precision: FilePrecision) -> str:
    """Where an export lies inside a model's folder."""
    return f"openvino/{precision}.xml"


def preset_for(backbone: str) -> Preset:
    """The quantisation that suits a backbone's activations."""
    return "mixed" if backbone.startswith("efficientnet") else "performance"


def export_openvino(classifier: "Classifier", folder: Path) -> Export:
    """Write ``openvino/float32.xml`` and ``.bin`` into a model's ``folder``, whole or not at all.

    The weights stay float32: halving them to float16 saves disk, but moves the answers.
    """
    import tensorflow as tf

    openvino = load_openvino()
    model = classifier.output_model()
    names = list(model.output)

    def forward(image: Any) -> list[Any]:
        outputs = model(image, training=False)
        # TensorFlow calls the items of a list Identity, Identity_1, ... but sorts a dict by its keys.
        return [tf.identity(outputs[name]) for name in names]

    signature = tf.TensorSpec((None, *classifier.input_size, 3), tf.uint8, name=INPUT)
    with no_telemetry():
        function = tf.function(forward, input_signature=[signature])
        converted = openvino.convert_model(function.get_concrete_function())
    return _write(_named(converted, names), folder, "float32")


def quantize(
    folder: Path,
    images: Iterable[NDArray[np.uint8]],
    preset: Preset = "performance",
    *,
    spared: int = 0,
    refit_on: Iterable[tuple[NDArray[np.uint8], Floats]] = (),
) -> Export:
    """Write ``openvino/int8.xml`` and ``.bin`` beside the float32 files of a model's ``folder``.

    ``images`` (height, width, 3) calibrate the ranges: some hundred of the training images, decoded as in
    serving. The averages and the head stay in float32, which costs nothing and keeps class activation exact.
    The first ``spared`` convolutions stay in float32 too: what they lose is lost to all that follow.
    From ``refit_on``, batches (batch, height, width, 3) of more training images with the float network's logits (batch,
    classes) of them, the head is moved so that it gives those from what the rounded network sees; ``head.npz`` then
    holds it too.
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
            preset=_nncf_preset(nncf, preset),
            subset_size=len(batches),
            # Layer by layer on what the layers below really give: slower, and nearer (docs/decisions/0020).
            fast_bias_correction=False,
            ignored_scope=nncf.IgnoredScope(
                names=[*head_operations(model), *_convolutions(model)[:spared]], validate=False
            ),
        )
    early = f", the first {spared} convolutions in float32" if spared else ""
    note = f"{preset} preset{early}, calibrated on {len(batches)} images"
    embedding, logits = _seen(core, quantized, refit_on)
    if len(embedding):
        float_head = read_head(folder)
        head = refit(float_head, embedding, logits)
        write_head(folder, {"float32": float_head, "int8": head})
        _put_head(quantized, head)
        note += f", head fitted on {len(embedding)}"
    return _write(quantized, folder, "int8").model_copy(update={"note": note})


def _convolutions(model: Any) -> list[str]:
    """Names of the convolutions in the order of their computation."""
    kinds = ("Convolution", "GroupConvolution")
    return [node.get_friendly_name() for node in model.get_ordered_ops() if node.get_type_name() in kinds]


def _seen(core: Any, rounded: Any, batches: Iterable[tuple[NDArray[np.uint8], Floats]]) -> tuple[Floats, Floats]:
    """Embedding (images, features) of the rounded network, and the logits (images, classes) that came with them."""
    alone = rounded.clone()
    for node in [port.get_node() for port in alone.outputs if port.get_any_name() != EMBEDDING]:
        alone.remove_result(node)
    # What is not rounded runs in what it will be served in.
    rest = "bf16" if has_bfloat16() else "f32"
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": rest, "ENABLE_CPU_PINNING": False}
    network = core.compile_model(alone, "CPU", settings)
    pairs = [(np.array(network(batch)[0], np.float32), logits) for batch, logits in batches]
    if not pairs:
        return np.empty((0, 0), np.float32), np.empty((0, 0), np.float32)
    embedding, logits = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    return embedding, logits


def _put_head(model: Any, head: HeadArrays) -> None:
    """Have the logits come from the embedding by that head."""
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
        while node.get_type_name() == "Transpose":  # to channels last, which the averages need not wait for
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


def _named(converted: Any, names: list[str]) -> Any:
    """The same network with just these outputs: the converter adds one for each swish (``IdentityN``)."""
    openvino = load_openvino()
    results = []
    for index, name in enumerate(names):
        old = converted.output("Identity:0" if index == 0 else f"Identity_{index}:0")
        result = openvino.opset1.result(old.get_node().input_value(0))
        result.set_friendly_name(name)
        results.append(result)
    model = openvino.Model(results, converted.get_parameters(), "catseye")
    for output, name in zip(model.outputs, names, strict=True):
        output.set_names({name})
    model.inputs[0].set_names({INPUT})
    _drop_round_trips(model)
    return model


def _drop_round_trips(model: Any) -> None:
    """Take each map from channels first to last for its output alone, not to there and back on the way on.

    Left in, NNCF would put the ranges of single channels between the two, where they meet rows of pixels.
    """
    for node in model.get_ordered_ops():
        before = node.input_value(0).get_node() if node.get_type_name() == "Transpose" else node
        if before is not node and before.get_type_name() == "Transpose":
            there, back = (step.input_value(1).get_node().get_vector() for step in (before, node))
            if [there[axis] for axis in back] == list(range(len(back))):
                node.output(0).replace(before.input_value(0))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """NNCF draws bars of its own and logs every step; training has its own bar."""
    logger = logging.getLogger("nncf")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
            yield
    finally:
        logger.setLevel(level)


def _nncf_preset(nncf: Any, preset: str) -> Any:
    try:
        return {"mixed": nncf.QuantizationPreset.MIXED, "performance": nncf.QuantizationPreset.PERFORMANCE}[preset]
    except KeyError:
        raise BadParameter(f"{preset!r} is no quantisation preset. Use 'mixed' or 'performance'.") from None


def _checked(image: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    if image.shape != shape or image.dtype != np.uint8:
        raise BadData(
            f"An image to calibrate with is {image.dtype} {image.shape}, and the model takes uint8 {shape}. "
            "Decode images to the model's size."
        )
    return image


def _producer(output: Any) -> Any:
    return output.get_node().input_value(0).get_node()


def _write(model: Any, folder: Path, precision: FilePrecision) -> Export:
    """Save next to the final place, then rename; an ``.xml`` is never there without its own ``.bin``."""
    openvino = load_openvino()
    target = folder / export_path(precision)
    _replace(target, lambda path: openvino.save_model(model, path, compress_to_fp16=False))
    return Export(precision=precision, file=export_path(precision), sha256=sha256_of(target.with_suffix(".bin")))


def _replace(target: Path, write: Callable[[Path], object]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.stem}-", dir=target.parent))
    try:
        write(scratch / target.name)
        sync_tree(scratch)
        target.unlink(missing_ok=True)
        for suffix in (".bin", ".xml"):
            (scratch / target.name).with_suffix(suffix).replace(target.with_suffix(suffix))
        sync(target.parent)
    except (OSError, RuntimeError) as error:
        # OpenVINO raises RuntimeError for a full disk.
        raise StoreError(f"{target} could not be written: {error}. Check the free space.") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
