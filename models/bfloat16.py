"""Whether bfloat16 is worth asking for."""

from models.telemetry import load_openvino


def has_bfloat16() -> bool:
    """Whether this processor computes in bfloat16; others would only imitate it."""
    core = load_openvino().Core()
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
