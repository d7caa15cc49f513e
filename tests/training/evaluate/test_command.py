import numpy as np
import pytest

from models.card import Card, WeightsProvenance
from models.errors import BadData
from models.network.classifier import build_classifier
from models.store import store
from tests.support.shapes import CIRCLE, SQUARE, TRIANGLE, shapes_folder
from training.evaluate.command import measure
from training.publish.publish import export_files


@pytest.fixture
def stored(monkeypatch, tmp_path):
    monkeypatch.setenv("CATSEYE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))
    classifier = build_classifier("cnn", 3, input_size=32)
    (tmp_path / "model").mkdir()
    card = Card(
        name="shapes",
        labels=(SQUARE, TRIANGLE, CIRCLE),
        backbone="cnn",
        input_size=(32, 32),
        weights=WeightsProvenance(source="none", detail="random"),
        taps=classifier.taps,
        head=classifier.head,
        exports=(export_files(classifier, tmp_path / "model"),),
        parameters=classifier.model.count_params(),
    )
    return store.save(card, lambda folder: [path.rename(folder / path.name) for path in (tmp_path / "model").iterdir()])


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
