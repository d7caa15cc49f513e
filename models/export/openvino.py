"""Keras to OpenVINO, in float32.

The network takes ``image``, uint8 (batch, height, width, 3) of any batch size, and gives ``logits``, ``embedding``
and every map ``tap_0`` ... ``tap_n`` as float32.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.card import Export, FilePrecision
from models.environment import load_openvino, no_telemetry
from models.files import disk_errors, sha256_of

if TYPE_CHECKING:
    from models.network.classifier import Classifier

INPUT = "image"
LOGITS = "logits"
EMBEDDING = "embedding"


def export_path(precision: FilePrecision) -> str:
    """Where an export lies inside a model's folder."""
    return f"openvino/{precision}.xml"


def export_openvino(classifier: "Classifier", folder: Path) -> Export:
    """Write ``openvino/float32.xml`` and ``.bin`` into a model's ``folder``, which is not in the store yet.

    The weights stay float32: halving them to float16 saves disk, but changes the answers.
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
    return write_network(_named(converted, names), folder, "float32")


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
    """Remove pairs of transposes, channels first to last and back, that the maps' outputs leave on the main path.

    NNCF would quantise per channel between the two, where the channel axis is another one.
    """
    for node in model.get_ordered_ops():
        before = node.input_value(0).get_node() if node.get_type_name() == "Transpose" else node
        if before is not node and before.get_type_name() == "Transpose":
            there, back = (step.input_value(1).get_node().get_vector() for step in (before, node))
            if [there[axis] for axis in back] == list(range(len(back))):
                node.output(0).replace(before.input_value(0))


def write_network(network: Any, folder: Path, precision: FilePrecision) -> Export:
    """Write an OpenVINO network as the export of that precision; ``StoreError`` where the disk is full."""
    target = folder / export_path(precision)
    with disk_errors(f"{target} could not be written", "Check the free space."):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            load_openvino().save_model(network, target, compress_to_fp16=False)
        except RuntimeError as error:  # for a full disk
            raise OSError(str(error).strip().splitlines()[-1]) from error
    return Export(precision=precision, file=export_path(precision), sha256=sha256_of(target.with_suffix(".bin")))
