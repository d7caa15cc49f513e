from pathlib import Path

from models.runtime.bfloat16 import has_bfloat16


def test_it_is_what_the_processor_says() -> None:
    flags = Path("/proc/cpuinfo").read_text().split()
    if {"avx512_bf16", "amx_bf16"} & set(flags):
        assert has_bfloat16()
    if not {"avx512f", "avx_ne_convert", "bf16"} & set(flags):
        assert not has_bfloat16()
