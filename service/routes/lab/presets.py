"""The lecture's examples of convolution, padding and pooling, as requests to the lab."""

from typing import Any, Final

from pydantic import BaseModel


class Preset(BaseModel):
    """One example: a name to choose it by, what it shows, and the request."""

    name: str
    title: str
    about: str
    request: dict[str, Any]


_POOLED = [
    [1, 2, 0, 7, 1, 0],
    [0, 9, 2, 3, 2, 3],
    [3, 0, 1, 2, 1, 2],
    [2, 4, 0, 1, 0, 1],
    [6, 0, 1, 2, 1, 2],
    [2, 4, 0, 1, 8, 1],
]

_SHIFTED = [
    [1, 1, 2, 0, 7, 1],
    [3, 0, 9, 2, 3, 2],
    [3, 0, 1, 1, 2, 1],
    [3, 2, 4, 0, 1, 0],
    [2, 6, 0, 1, 2, 1],
    [1, 2, 4, 0, 1, 8],
]

PRESETS: Final = (
    Preset(
        name="drawing",
        title="The first drawing: 2x2 on 4x4",
        about="The kernel lies on each 2x2 window; the values are multiplied one by one and summed.",
        request={
            "image": [[1, 0, 1, 0], [1, 0, 1, 0], [1, 1, 1, 1], [0, 0, 1, 0]],
            "kernel": [[1, 0], [0, 1]],
            "steps": True,
        },
    ),
    Preset(
        name="feature-map",
        title="A 3x3 kernel on a 6x6 image",
        about="Stride 1 and no padding: the feature map is two smaller than the image each way.",
        request={
            "image": [
                [8, 8, 8, 7, 6, 5],
                [8, 8, 7, 6, 5, 5],
                [8, 8, 6, 5, 5, 5],
                [8, 5, 5, 5, 4, 4],
                [5, 5, 5, 5, 4, 4],
                [4, 4, 4, 3, 3, 3],
            ],
            "kernel": [[0, 0, 1], [-1, 1, -1], [1, -1, 0]],
            "steps": True,
        },
    ),
    Preset(
        name="channels",
        title="Two channels, two kernels",
        about="A kernel has as many channels as the image and sums over all; each kernel makes a map.",
        request={
            "image": [[[1, 10], [2, 20], [3, 30]], [[4, 40], [5, 50], [6, 60]], [[7, 70], [8, 80], [9, 90]]],
            "kernel": [
                [[[1, 0], [0, 0]], [[0, 0], [1, 0]]],
                [[[0, 0], [0, 1]], [[0, -1], [0, 0]]],
            ],
            "steps": True,
        },
    ),
    Preset(
        name="padding",
        title="Zero padding keeps the size",
        about="With `same` the edge is filled with zeros: the feature map is as large as the image.",
        request={
            "image": [
                [60, 113, 56, 139, 85],
                [73, 121, 54, 84, 128],
                [131, 99, 70, 129, 127],
                [80, 57, 115, 69, 134],
                [104, 126, 123, 95, 130],
            ],
            "kernel": [[0, -1, 0], [-1, 5, -1], [0, -1, 0]],
            "padding": "same",
        },
    ),
    Preset(
        name="stride",
        title="Stride 2: two to the right, two down",
        about="Passing on only part of the result lowers the computation.",
        request={
            "image": _POOLED,
            "kernel": [[1, 0], [0, 1]],
            "stride": 2,
        },
    ),
    Preset(
        name="max-pooling",
        title="Max pooling, window 3x3, stride 3",
        about="The largest value of each window.",
        request={"image": _POOLED, "pool": {"type": "max", "size": 3, "stride": 3}, "steps": True},
    ),
    Preset(
        name="max-pooling-shifted",
        title="The same image moved one pixel to the right",
        about="As the lecture prints it. The result is the same: pooling forgives small shifts.",
        request={
            "image": _SHIFTED,
            "pool": {"type": "max", "size": 3, "stride": 3},
            "steps": True,
        },
    ),
    Preset(
        name="average-pooling",
        title="Average pooling, window 2x2",
        about="The mean of each window.",
        request={"image": _POOLED, "pool": {"type": "average", "size": 2}},
    ),
)
