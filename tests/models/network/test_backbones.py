"""The table of networks against the lecture and against Keras, and the ways to look a row up."""

import dataclasses
import inspect
import re
import subprocess
import sys

import pytest

from models.errors import BadParameter
from models.network.backbones import BACKBONES, Backbone, ImagenetFile, get_backbone, list_backbones
from tests.support.weight_sources import keras_module

LECTURE = {
    "vgg16": (224, 138.4, 2014),
    "vgg19": (224, 143.7, 2014),
    "resnet50": (224, 25.6, 2015),
    "resnet101": (224, 44.7, 2015),
    "resnet152": (224, 60.4, 2015),
    "inception_v3": (299, 23.9, 2015),
    "inception_resnet_v2": (299, 55.9, 2016),
    "xception": (299, 22.9, 2016),
    "mobilenet": (224, 4.3, 2017),
    "mobilenet_v2": (224, 3.5, 2018),
    "densenet121": (224, 8.1, 2016),
    "densenet169": (224, 14.3, 2016),
    "densenet201": (224, 20.2, 2016),
    "efficientnet_b0": (224, 5.3, 2019),
    "efficientnet_b7": (600, 66.7, 2019),
}
"""Input size, millions of parameters with the ImageNet classifier (Keras's count), year of the paper."""


def test_the_table_is_the_lectures_and_the_two_baselines() -> None:
    assert list(BACKBONES) == [*LECTURE, "mlp", "cnn"]


@pytest.mark.parametrize("name", LECTURE)
def test_a_row_says_what_the_lecture_says(name: str) -> None:
    size, millions, year = LECTURE[name]
    row = BACKBONES[name]
    assert row.input_size == size
    assert row.parameters == pytest.approx(millions * 1e6, rel=0.02)
    assert row.year == year
    assert row.about
    assert row.paper


@pytest.mark.parametrize("row", BACKBONES.values(), ids=BACKBONES)
def test_a_row_is_complete(row: Backbone) -> None:
    assert row.min_size <= row.input_size
    assert len(set(row.taps)) == len(row.taps)
    assert len(row.taps) in range(4, 8) or row.name == "mlp"
    assert set(row.freeze_points) == {"most", "few"}


@pytest.mark.parametrize("row", [row for row in BACKBONES.values() if row.pretrained], ids=lambda row: row.name)
def test_the_weights_are_keras_own_files(row: Backbone) -> None:
    module = keras_module(row)
    # Keras writes long addresses as adjacent strings.
    source = re.sub(r'"\s*\n\s*f?"', "", inspect.getsource(module))
    assert row.imagenet is not None
    folder, _, file = row.imagenet.path.rpartition("/")
    assert f"https://storage.googleapis.com/{folder}/" in source
    assert file.endswith(("notop.h5", "no_top.h5"))
    assert row.imagenet.md5 is None or row.imagenet.md5 in source
    assert (row.imagenet.md5 is None) == row.name.startswith("mobilenet")


@pytest.mark.parametrize("spelling", ["mobilenet_v2", "MobileNetV2", "mobilenetv2", "MOBILENET-V2"])
def test_a_row_is_found_in_any_spelling(spelling: str) -> None:
    assert get_backbone(spelling).name == "mobilenet_v2"


@pytest.mark.parametrize(
    ("wrong", "near"),
    [("resnet51", "resnet50"), ("mobilenet_v3", "mobilenet_v2"), ("EficientNetB0", "efficientnet_b0")],
)
def test_a_wrong_name_gets_the_nearest_ones(wrong: str, near: str) -> None:
    with pytest.raises(BadParameter, match=near) as caught:
        get_backbone(wrong)
    assert repr(wrong) in caught.value.detail
    assert "vgg16" not in caught.value.detail


def test_a_name_like_no_other_gets_the_whole_list() -> None:
    with pytest.raises(BadParameter, match=r"vgg16, vgg19, .*, mlp, cnn"):
        get_backbone("?")


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("resnet*", ["resnet50", "resnet101", "resnet152"]),
        ("*e*net_v2", ["inception_resnet_v2", "mobilenet_v2"]),
        ("VGG1?", ["vgg16", "vgg19"]),
        ("nothing*", []),
        ("*", list(BACKBONES)),
    ],
)
def test_rows_are_listed_by_pattern_in_table_order(pattern: str, names: list[str]) -> None:
    assert [row.name for row in list_backbones(pattern)] == names


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


def test_reading_the_table_loads_neither_keras_nor_tensorflow() -> None:
    code = "import sys, models.network.backbones; print(sorted({'keras', 'tensorflow', 'h5py'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
