"""A row of the table: plain data, readable where Keras is not installed."""

import dataclasses
import subprocess
import sys

import pytest

from models.network.backbone import Backbone, ImagenetFile
from models.network.backbones import BACKBONES


def test_a_row_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        BACKBONES["cnn"].input_size = 32  # type: ignore[misc]  # the very thing that must fail
    with pytest.raises(TypeError):
        BACKBONES["cnn"].freeze_points["few"] = "conv_1"  # type: ignore[index]  # a read-only mapping


def test_a_changed_copy_is_a_row_as_well() -> None:
    mirror = ImagenetFile(path="elsewhere/file.h5", md5="0" * 32)
    row = dataclasses.replace(BACKBONES["vgg16"], imagenet=mirror)
    assert row.pretrained
    assert row.imagenet == mirror
    assert mirror.name == "file.h5"
    assert hash(row) != hash(BACKBONES["vgg16"])


def test_only_the_baselines_have_no_pretrained_weights() -> None:
    def names(rows: list[Backbone]) -> list[str]:
        return [row.name for row in rows]

    assert names([row for row in BACKBONES.values() if not row.pretrained]) == ["mlp", "cnn"]


@pytest.mark.parametrize("module", ["models.network.backbone", "models.network.backbones"])
def test_reading_the_table_loads_neither_keras_nor_tensorflow(module: str) -> None:
    code = f"import sys, {module}; print(sorted({{'keras', 'tensorflow', 'h5py'}} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
