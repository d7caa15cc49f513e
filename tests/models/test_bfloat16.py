from pathlib import Path

from models.bfloat16 import has_bfloat16


def test_it_is_what_the_processor_says() -> None:
    flags = Path("/proc/cpuinfo").read_text().split()
    assert has_bfloat16() == bool({"avx512_bf16", "amx_bf16"} & set(flags))
