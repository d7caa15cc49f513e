"""The fifteen pretrained networks and the two baselines: one frozen row of data each, and no code.

``freeze_points`` follow one rule for all pretrained networks: ``few`` leaves the layers up to stride 8
frozen (edges, colours, textures), ``most`` trains only the last stage (the one with the coarsest map).
Input sizes, parameter counts and papers: the lecture's table, counted with Keras 3.15.

This module imports neither Keras nor TensorFlow, so that serving can read the table.
"""

import difflib
import fnmatch
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from models.errors import BadParameter

Preprocessing = Literal["tf", "caffe", "torch", "inside", "none"]
"""``tf``: [-1, 1]; ``caffe``: BGR less the ImageNet mean; ``torch``: ImageNet mean and deviation;
``inside``: the network does it itself (EfficientNet); ``none``: pixels as they are."""

FreezePoint = Literal["most", "few"]


@dataclass(frozen=True, kw_only=True)
class ImagenetFile:
    """Where Keras publishes the weights without the ImageNet classifier."""

    path: str
    """Below the download base, by default ``https://storage.googleapis.com``."""
    md5: str | None
    """From the source of ``keras.applications`` (3.15), which has none for MobileNet and MobileNetV2."""

    @property
    def name(self) -> str:
        """The file's own name."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """A network without its classifier: how to build it, its input, and its layers of interest."""

    name: str
    title: str
    builder: str
    """Dotted path of a function ``(include_top=False, weights=None, input_tensor=...) -> keras.Model``."""
    preprocessing: Preprocessing
    input_size: int
    """Default height and width in pixels."""
    min_size: int
    """Smallest height or width that the network takes."""
    parameters: int
    """With a classifier of 1,000 classes, at ``input_size``."""
    taps: tuple[str, ...]
    """Layers whose maps can be read, early to late; the last is the final map before pooling."""
    freeze_points: Mapping[FreezePoint, str] = field(hash=False)
    """First layer that is trained again when ``most`` or a ``few`` of the layers are frozen."""
    imagenet: ImagenetFile | None
    about: str
    paper: str
    year: int

    @property
    def pretrained(self) -> bool:
        """True where ImageNet weights exist."""
        return self.imagenet is not None


_KERAS_FILES = "tensorflow/keras-applications"
_NO_TOP = "weights_tf_dim_ordering_tf_kernels_notop.h5"


def _points(*, most: str, few: str) -> Mapping[FreezePoint, str]:
    return MappingProxyType({"most": most, "few": few})


def _keras(
    name: str,
    title: str,
    *,
    taps: str,
    most: str,
    few: str,
    weights: str,
    md5: str | None,
    input_size: int = 224,
    min_size: int = 32,
    **facts: Any,
) -> Backbone:
    """A row for a network of ``keras.applications``; ``taps`` are separated by spaces."""
    return Backbone(
        name=name,
        title=title,
        builder=f"keras.applications.{title}",
        input_size=input_size,
        min_size=min_size,
        taps=tuple(taps.split()),
        freeze_points=_points(most=most, few=few),
        imagenet=ImagenetFile(path=weights, md5=md5),
        **facts,
    )


def _vgg(depth: int, convolutions: int, parameters: int, md5: str, about: str) -> Backbone:
    return _keras(
        f"vgg{depth}",
        f"VGG{depth}",
        preprocessing="caffe",
        parameters=parameters,
        taps=f"block1_conv2 block2_conv2 block3_conv{convolutions} block4_conv{convolutions} "
        f"block5_conv{convolutions} block5_pool",
        most="block5_conv1",
        few="block4_conv1",
        weights=f"{_KERAS_FILES}/vgg{depth}/vgg{depth}_{_NO_TOP}",
        md5=md5,
        about=about,
        paper="Very Deep Convolutional Networks for Large-Scale Image Recognition",
        year=2014,
    )


def _resnet(depth: int, blocks: tuple[int, int], parameters: int, md5: str, about: str) -> Backbone:
    third, fourth = blocks
    return _keras(
        f"resnet{depth}",
        f"ResNet{depth}",
        preprocessing="caffe",
        parameters=parameters,
        taps=f"conv1_relu conv2_block3_out conv3_block{third}_out conv4_block{fourth // 2}_out "
        f"conv4_block{fourth}_out conv5_block3_out",
        most="conv5_block1_1_conv",
        few="conv4_block1_1_conv",
        weights=f"{_KERAS_FILES}/resnet/resnet{depth}_{_NO_TOP}",
        md5=md5,
        about=about,
        paper="Deep Residual Learning for Image Recognition",
        year=2015,
    )


def _densenet(depth: int, parameters: int, md5: str, about: str) -> Backbone:
    return _keras(
        f"densenet{depth}",
        f"DenseNet{depth}",
        preprocessing="torch",
        parameters=parameters,
        taps="conv1_relu pool2_relu pool3_relu pool4_relu relu",
        most="conv5_block1_0_bn",
        few="conv4_block1_0_bn",
        weights=f"{_KERAS_FILES}/densenet/densenet{depth}_{_NO_TOP}",
        md5=md5,
        about=about,
        paper="Densely Connected Convolutional Networks",
        year=2016,
    )


def _efficientnet(variant: str, size: int, taps: str, parameters: int, md5: str, about: str) -> Backbone:
    return _keras(
        f"efficientnet_{variant}",
        f"EfficientNet{variant.upper()}",
        preprocessing="inside",
        input_size=size,
        parameters=parameters,
        taps=taps,
        most="block6a_expand_conv",
        few="block4a_expand_conv",
        weights=f"keras-applications/efficientnet{variant}_notop.h5",
        md5=md5,
        about=about,
        paper="EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks",
        year=2019,
    )


_INCEPTION_V3 = _keras(
    "inception_v3",
    "InceptionV3",
    preprocessing="tf",
    input_size=299,
    min_size=75,
    parameters=23_851_784,
    taps="activation_2 activation_4 mixed2 mixed4 mixed7 mixed10",
    most="conv2d_72",
    few="conv2d_27",
    weights=f"{_KERAS_FILES}/inception_v3/inception_v3_{_NO_TOP}",
    md5="bcbd6486424b2319ff4ef7d526e38f63",
    about="kernels of several sizes side by side",
    paper="Rethinking the Inception Architecture for Computer Vision",
    year=2015,
)
_INCEPTION_RESNET_V2 = _keras(
    "inception_resnet_v2",
    "InceptionResNetV2",
    preprocessing="tf",
    input_size=299,
    min_size=75,
    parameters=55_873_736,
    taps="activation_2 activation_4 block35_10_ac block17_10_ac block17_20_ac conv_7b_ac",
    most="conv2d_160",
    few="conv2d_73",
    weights=f"{_KERAS_FILES}/inception_resnet_v2/inception_resnet_v2_{_NO_TOP}",
    md5="d19885ff4a710c122648d3b5c3b684e4",
    about="Inception with residual blocks",
    paper="Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning",
    year=2016,
)
_XCEPTION_ROW = _keras(
    "xception",
    "Xception",
    preprocessing="tf",
    input_size=299,
    min_size=71,
    parameters=22_910_480,
    taps="block1_conv2_act block3_sepconv1_act block4_sepconv1_act block5_sepconv1_act "
    "block9_sepconv1_act block13_sepconv1_act block14_sepconv2_act",
    most="block13_sepconv1_act",
    few="block4_sepconv1_act",
    weights=f"{_KERAS_FILES}/xception/xception_{_NO_TOP}",
    md5="b0042744bf5b25fce3cb969f33bebb97",
    about="depthwise separable convolutions",
    paper="Xception: Deep Learning with Depthwise Separable Convolutions",
    year=2016,
)
_MOBILENET_V1 = _keras(
    "mobilenet",
    "MobileNet",
    preprocessing="tf",
    parameters=4_253_864,
    taps="conv_pw_1_relu conv_pw_3_relu conv_pw_5_relu conv_pw_8_relu conv_pw_11_relu conv_pw_13_relu",
    most="conv_pad_12",
    few="conv_pad_6",
    weights=f"{_KERAS_FILES}/mobilenet/mobilenet_1_0_224_tf_no_top.h5",
    md5=None,
    about="light, for mobile devices",
    paper="MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications",
    year=2017,
)
_MOBILENET_V2_ROW = _keras(
    "mobilenet_v2",
    "MobileNetV2",
    preprocessing="tf",
    parameters=3_538_984,
    taps="Conv1_relu block_2_add block_5_add block_9_add block_12_add block_15_add out_relu",
    most="block_13_expand",
    few="block_6_expand",
    weights=f"{_KERAS_FILES}/mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
    md5=None,
    about="less computation",
    paper="MobileNetV2: Inverted Residuals and Linear Bottlenecks",
    year=2018,
)
_MLP = Backbone(
    name="mlp",
    title="MLP",
    builder="models.network.baselines.mlp",
    preprocessing="tf",
    input_size=64,
    min_size=8,
    parameters=3_307_880,
    taps=(),
    freeze_points=_points(most="hidden_2", few="hidden_2"),
    imagenet=None,
    about="baseline: every pixel tied to its place",
    paper="Learning representations by back-propagating errors",
    year=1986,
)
_CNN = Backbone(
    name="cnn",
    title="CNN",
    builder="models.network.baselines.cnn",
    preprocessing="tf",
    input_size=64,
    min_size=16,
    parameters=645_416,
    taps=("conv_1", "conv_2", "conv_3", "conv_4"),
    freeze_points=_points(most="conv_4", few="conv_2"),
    imagenet=None,
    about="baseline: a small network with shared filters",
    paper="Gradient-Based Learning Applied to Document Recognition",
    year=1998,
)

_ROWS = (
    _vgg(16, 3, 138_357_544, "6d6bbae143d832006294945121d1f1fc", "deep and simple, 16 layers"),
    _vgg(19, 4, 143_667_240, "253f8cb515780f3b799900260a226db6", "VGG16 with 19 layers"),
    _resnet(50, (4, 6), 25_636_712, "4d473c1dd8becc155b73f8504c6f6626", "residual blocks"),
    _resnet(101, (4, 23), 44_707_176, "88cf7a10940856eca736dc7b7e228a21", "residual blocks, deeper"),
    _resnet(152, (8, 36), 60_419_944, "ee4c566cf9a93f14d82f913c2dc6dd0c", "residual blocks, deepest"),
    _INCEPTION_V3,
    _INCEPTION_RESNET_V2,
    _XCEPTION_ROW,
    _MOBILENET_V1,
    _MOBILENET_V2_ROW,
    _densenet(121, 8_062_504, "30ee3e1110167f948a6b9946edeeb738", "dense blocks"),
    _densenet(169, 14_307_880, "b8c4d4c20dd625c148057b9ff1c1176b", "dense blocks, deeper"),
    _densenet(201, 20_242_984, "c13680b51ded0fb44dff2d8f86ac8bb1", "dense blocks, deepest"),
    _efficientnet(
        "b0",
        224,
        "stem_activation block2b_add block3b_add block4c_add block5c_add block6d_add top_activation",
        5_330_571,
        "50bc09e76180e00e4465e1a485ddc09d",
        "found by architecture search",
    ),
    _efficientnet(
        "b7",
        600,
        "stem_activation block2g_add block3g_add block4j_add block5j_add block6m_add top_activation",
        66_658_687,
        "cbcfe4450ddf6f3ad90b1b398090fe4a",
        "the largest EfficientNet",
    ),
    _MLP,
    _CNN,
)

BACKBONES: Mapping[str, Backbone] = MappingProxyType({row.name: row for row in _ROWS})
"""Every network by name, in the lecture's order, the baselines last."""


def get_backbone(name: str) -> Backbone:
    """The row called ``name``; Keras's spelling ("MobileNetV2") does too.

    Raises BadParameter that names the nearest rows.
    """
    found = _BY_SPELLING.get(_spelling(name))
    if found is not None:
        return found
    near = difflib.get_close_matches(_spelling(name), _BY_SPELLING, n=3, cutoff=0.5)
    names = ", ".join(_BY_SPELLING[spelling].name for spelling in near) or ", ".join(BACKBONES)
    raise BadParameter(f"There is no backbone called {name!r}. Choose one of: {names}.")


def list_backbones(pattern: str = "*") -> list[Backbone]:
    """The rows whose name fits a shell pattern such as ``resnet*``, in table order; none is an empty list."""
    wanted = pattern.casefold()
    return [row for row in _ROWS if fnmatch.fnmatchcase(row.name, wanted)]


def _spelling(name: str) -> str:
    """Letters and digits only, in lower case: what "MobileNetV2" and "mobilenet_v2" have in common."""
    return re.sub(r"[^a-z0-9]", "", name.casefold())


_BY_SPELLING = {_spelling(row.name): row for row in _ROWS}
