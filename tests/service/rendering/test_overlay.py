import io

import numpy as np
from PIL import Image

from service.rendering.overlay import activation_overlay

RNG = np.random.default_rng(4)


def opened(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def test_the_overlay_lights_up_where_the_map_is_high_and_leaves_the_rest():
    image = np.full((60, 80, 3), 100, np.uint8)
    activation = np.zeros((6, 8))
    activation[:3, :4] = 2.0
    sheet = opened(activation_overlay(image, activation, title="cat", subtitle="logit 1.2"))
    picture = sheet[72 : 72 + 60, 16 + 80 + 6 : 16 + 80 + 6 + 80]
    assert (sheet[72 : 72 + 60, 16 : 16 + 80] == image).all()
    assert picture[5, 5].min() > 100
    assert (picture[-3, -3] <= 75).all()
    assert np.ptp(picture[-3, -3]) <= 4


def test_a_map_of_zeros_leaves_the_image_alone():
    image = RNG.integers(0, 255, (30, 40, 3), np.uint8)
    sheet = opened(activation_overlay(image, np.zeros((3, 3)), title="cat"))
    assert (sheet[72:102, 16:56] == image).all()
    assert (sheet[72:102, 62:102] == image).all()


def test_speaking_for_is_warm_and_against_is_cold():
    image = np.full((40, 40, 3), 60, np.uint8)
    activation = np.ones((2, 2))
    activation[:, 1] = -1
    picture = opened(activation_overlay(image, activation, title="cat"))[72:112, 62:102]
    assert picture[20, 2, 0] > picture[20, 2, 2]
    assert picture[20, 37, 2] > picture[20, 37, 0]


def test_odd_sizes_and_values():
    for shape in ((1, 1), (300, 2)):
        image = np.zeros((*shape, 3), np.uint8)
        activation = np.full((1, 1), np.nan)
        assert opened(activation_overlay(image, activation, title="x" * 1000)).shape[1] >= 400
