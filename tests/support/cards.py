"""A small card and a small folder of files, for tests that store models without training one."""

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from models.card import Card, Head, WeightsProvenance

ROOT = Path(__file__).parents[2]


def small_card(name: str = "cells", **changes: object) -> Card:
    values: dict[str, object] = {
        "name": name,
        "labels": ("fine", "broken"),
        "backbone": "mobilenet_v2",
        "input_size": (32, 32),
        "weights": WeightsProvenance(source="none", detail="random"),
        "head": Head(embedding_size=4),
        "parameters": 10,
    }
    return Card.model_validate(values | changes)


def writer(
    size: int = 1000, files: tuple[str, ...] = ("model.keras", "openvino/float32.bin")
) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        for number, file in enumerate(files):
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            with (folder / file).open("wb") as stream:
                for _ in range(8):
                    stream.write(bytes([number]) * (size // 8))

    return write


def at(second: int) -> datetime:
    return datetime.fromisoformat(f"2026-01-01T00:00:{second:02d}+00:00")


def run_on(home: Path, code: str) -> str:
    """What Python prints that runs ``code`` in a process of its own, on the store in ``home``."""
    environment = os.environ | {"BENTOML_HOME": str(home), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout
