import base64
import io

import numpy as np
from PIL import Image

from tests.support.images import jpeg, photograph
from training.report.pictures import full_colour, jpeg_uri, overlay, picture


def test_a_picture_keeps_its_proportions():
    assert picture(jpeg(300, 600), side=120).shape == (60, 120, 3)
    assert picture(jpeg(30, 60), side=120).shape == (30, 60, 3)


def test_orange_speaks_for_and_blue_against():
    image = np.full((70, 70, 3), 128, np.uint8)
    activation = np.zeros((7, 7), np.float32)
    activation[1, 1], activation[5, 5] = 2.0, -2.0
    red, _, blue = np.moveaxis(overlay(image, activation).astype(int), 2, 0)
    assert red[15, 15] - blue[15, 15] > 80
    assert blue[55, 55] - red[55, 55] > 80
    assert abs(red[15, 55] - blue[15, 55]) < 5


def test_a_common_limit_makes_maps_comparable():
    image, weak = photograph(32, 32), np.full((2, 2), 0.1, np.float32)
    own, common = overlay(image, weak).astype(int), overlay(image, weak, limit=10.0).astype(int)
    grey = image.mean(axis=2, keepdims=True)
    assert np.abs(common - grey).mean() < 3 < np.abs(own - grey).mean()
    assert overlay(image, np.zeros((2, 2), np.float32)).shape == image.shape


def test_one_hot_place_does_not_wash_out_the_rest():
    activation = np.full((40, 40), 0.5, np.float32)
    activation[3, 3] = 50.0
    assert full_colour(activation) < 5.0
    assert full_colour(np.eye(7, dtype=np.float32)) > 0.5


def test_addresses_hold_the_picture():
    kind, data = jpeg_uri(photograph(8, 8)).split(",")
    assert kind == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (8, 8)
