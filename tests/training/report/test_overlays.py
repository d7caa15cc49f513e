import base64
import io

import numpy as np
import pytest
from PIL import Image

from models.card import Card, Head, Pool, WeightsProvenance
from models.image.decode import content_hash, decode
from tests.support import folders
from tests.support.images import photograph
from training.data.dataset import Sample
from training.report.overlays import activation_maps, full_colour, jpeg_uri, overlay

KERNEL = np.array([[1.0, -1.0, 0.2], [0.5, 0.0, 0.7], [-2.0, 1.0, 0.3]], np.float32)
BIAS = np.array([0.1, -0.2, 0.4], np.float32)


class Colours:
    """A network whose only map is the image itself; it counts its runs."""

    runs = 0

    def run(self, images, outputs=("logits",)):
        self.runs += 1
        assert tuple(outputs) == ("tap_0",)
        return {"tap_0": images.astype(np.float32)}


def card(head):
    return Card(
        name="x",
        labels=("a", "b", "c"),
        backbone="cnn",
        input_size=(16, 16),
        weights=WeightsProvenance(source="none", detail=""),
        head=head,
        parameters=1,
    )


def test_the_mean_of_a_map_is_the_lead_over_the_other_labels(tmp_path):
    path = folders.put(tmp_path / "a.png", folders.picture(0))
    sample = Sample(path=path, label=0, sha256=content_hash(path.read_bytes()), split="test")
    network = Colours()
    head = Head(pools=(Pool(tap=0, start=0, stop=3),), embedding_size=3)
    activation = activation_maps(network, card(head), KERNEL, BIAS)
    logits = decode(sample.path.read_bytes()).astype(np.float64).mean(axis=(0, 1)) @ KERNEL + BIAS
    for label in (0, 1, 2):
        lead = logits[label] - np.delete(logits, label).mean()
        assert activation(sample, label).mean() == pytest.approx(lead, rel=1e-4)
    assert network.runs == 1


def test_a_head_without_pools_has_no_map():
    assert activation_maps(Colours(), card(Head(embedding_size=3)), KERNEL, BIAS) is None


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
