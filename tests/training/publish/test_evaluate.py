import numpy as np
import pytest

from models.card import WeightsProvenance
from models.errors import BadData
from models.network.classifier import build_classifier
from tests.support.shapes import CIRCLE, SQUARE, TRIANGLE, shapes_folder
from training.publish.evaluate import measure
from training.publish.publish import exported, store_exported


@pytest.fixture
def stored(monkeypatch, tmp_path):
    monkeypatch.setenv("CATSEYE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))
    classifier = build_classifier("cnn", 3, input_size=32)
    facts = {"name": "shapes", "labels": (SQUARE, TRIANGLE, CIRCLE)}
    weights = WeightsProvenance(source="none", detail="random")
    with exported(classifier, tmp_path / "model", weights=weights, **facts) as model:
        return store_exported(model)


def test_figures_follow_the_models_own_order_of_labels(stored, tmp_path):
    data = shapes_folder(tmp_path / "new", {CIRCLE: 6, SQUARE: 4})
    report = measure(stored, data, tmp_path / "out")
    confusion = np.array(report.card.metrics.confusion)
    assert confusion.sum(1).tolist() == [4, 0, 6]
    assert (tmp_path / "out" / "report.html").is_file()


def test_a_label_that_the_model_does_not_know(stored, tmp_path):
    data = shapes_folder(tmp_path / "new", {CIRCLE: 3, "별": 3})
    with pytest.raises(BadData, match="no label '별'"):
        measure(stored, data)
