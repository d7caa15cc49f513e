import numpy as np
import pytest

from models.store import store
from tests.support.shapes import CIRCLE, SQUARE, shapes_folder
from training.config import TrainSettings
from training.data.dataset import labels_of, load_batch, read_dataset
from training.pipeline import learn
from training.publish.trial import trial
from training.runs import new_run


def test_a_network_answers_before_it_is_stored_and_leaves_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("CATSEYE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))
    data = shapes_folder(tmp_path / "data", {CIRCLE: 12, SQUARE: 12})
    settings = TrainSettings(name="x", backbone="cnn", weights="none", size=32, head_epochs=3, epochs=3)
    dataset = read_dataset(data, quiet=True)
    outcome = learn(dataset, settings, new_run(settings, data))
    with trial(outcome) as network:
        logits = network.logits(dataset.test)
        by_keras = outcome.classifier.model.predict(load_batch(dataset.test, (32, 32)), verbose=0)
        np.testing.assert_allclose(logits, by_keras, atol=1e-3)
        metrics = network.metrics(logits)
        assert metrics.accuracy == np.mean(logits.argmax(1) == labels_of(dataset.test))
        assert (outcome.folder / "model").is_dir()
    assert not (outcome.folder / "model").exists()
    assert store.list_models() == []
    with pytest.raises(KeyboardInterrupt), trial(outcome):
        raise KeyboardInterrupt
    assert not (outcome.folder / "model").exists()
