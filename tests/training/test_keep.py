import numpy as np

from models.card import Card, Head, WeightsProvenance
from tests.images import encode
from training.checkpoint import Progress
from training.dataset import Sample
from training.keep import history_of, logits_of, versions


class Means:
    """A runtime whose logits are the means of the channels."""

    streams = 2

    def run(self, images, outputs=("logits",)):
        return {"logits": images.mean((1, 2)).astype(np.float32)}


def test_logits_come_in_the_samples_order(tmp_path):
    card = Card(
        name="x",
        labels=("a", "b", "c"),
        backbone="cnn",
        input_size=(8, 8),
        weights=WeightsProvenance(source="none", detail=""),
        head=Head(embedding_size=1),
        parameters=1,
    )
    samples = []
    for i in range(40):
        path = tmp_path / f"{i}.png"
        path.write_bytes(encode(np.full((8, 8, 3), i, np.uint8), "PNG"))
        samples.append(Sample(path=path, label=0, sha256=str(i), split="test"))
    assert logits_of(Means(), samples, card)[:, 0].tolist() == list(range(40))
    assert logits_of(Means(), [], card).shape == (0, 3)


def test_the_history_holds_the_figures_and_no_weights():
    progress = Progress("top", epoch=1, best_epoch=1, history=[{"epoch": 1.0}], arrays={"weights": [np.zeros(3)]})
    assert history_of([progress]).model_dump()["phases"] == (
        {"phase": "top", "best_epoch": 1, "history": ({"epoch": 1.0},)},
    )


def test_versions_name_the_libraries():
    assert {"keras", "openvino", "tensorflow"} <= versions().keys()
