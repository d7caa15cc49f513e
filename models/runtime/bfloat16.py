"""Whether bfloat16 is worth asking for."""

from functools import cache

from models.telemetry import load_openvino


@cache
def has_bfloat16() -> bool:
    """Whether OpenVINO counts bfloat16 among what this processor computes in."""
    core = load_openvino().Core()
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
