"""Opens a stored classifier in OpenVINO or TensorFlow. Importing this module loads neither."""

from models.card import Precision
from models.environment import before_tensorflow
from models.errors import BadParameter
from models.runtime.base import Hint, Kind, Runtime
from models.store.store import StoredModel


def open_runtime(
    model: StoredModel,
    kind: Kind = "openvino",
    *,
    precision: Precision | None = None,
    streams: int | None = None,
    threads: int | None = None,
    hint: Hint = "latency",
) -> Runtime:
    """Load a model, check its files against the card, and run it once.

    ``precision`` is by default what the card says for OpenVINO, float32 for TensorFlow. ``streams`` (runs at
    once) and ``threads`` (processor cores, for TensorFlow those of one run) are by default the runtime's own choice
    after ``hint``; TensorFlow has no streams. Raises ``StoreError`` naming a file that is missing, corrupt or of
    another network.
    """
    for name, value in (("streams", streams), ("threads", threads)):
        if value is not None and value < 1:
            raise BadParameter(f"{name} must be at least 1, not {value}. Leave it out for the usual number.")
    if kind == "tensorflow":
        if precision not in (None, "float32"):
            raise BadParameter(f"TensorFlow runs float32, not {precision}. Use openvino, or leave precision out.")
        before_tensorflow()
        from models.runtime.tensorflow import TensorflowRuntime

        return TensorflowRuntime(model, threads=threads)
    if kind != "openvino":
        raise BadParameter(f"{kind!r} is no runtime. Use 'openvino' or 'tensorflow'.")
    from models.runtime.openvino import OpenvinoRuntime

    precision = precision or model.card.served_precision
    return OpenvinoRuntime(model, precision, streams=streams, threads=threads, hint=hint)
