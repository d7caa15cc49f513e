import numpy as np
import pytest

from models.card import Card, Head, Pool, WeightsProvenance
from models.image.decode import content_hash, decode
from tests.support.folders import picture, put
from training.data.dataset import Sample
from training.report.activations import activations

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
    path = put(tmp_path / "a.png", picture(0))
    sample = Sample(path=path, label=0, sha256=content_hash(path.read_bytes()), split="test")
    network = Colours()
    head = Head(pools=(Pool(tap=0, start=0, stop=3),), embedding_size=3)
    activation = activations(network, card(head), KERNEL, BIAS)
    logits = decode(sample.path.read_bytes()).astype(np.float64).mean(axis=(0, 1)) @ KERNEL + BIAS
    for label in (0, 1, 2):
        lead = logits[label] - np.delete(logits, label).mean()
        assert activation(sample, label).mean() == pytest.approx(lead, rel=1e-4)
    assert network.runs == 1


def test_a_head_without_pools_has_no_map():
    assert activations(Colours(), card(Head(embedding_size=3)), KERNEL, BIAS) is None
