from contextlib import closing

import numpy as np
import pytest

from models.errors import BadParameter
from models.runtime.open import open_runtime
from models.store import store
from models.store.history import read_history
from tests.support.cards import small_card, writer
from tests.support.shapes import CIRCLE, SQUARE, shapes_folder
from training.config import TrainSettings, catseye_home
from training.data.dataset import labels_of, load_batch, read_dataset
from training.evaluate.metrics import logits_of
from training.pipeline import learn, train
from training.publish.publish import export_and_measure, export_outcome, store_measured, versions
from training.runs import new_run


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """A trained network that is not stored."""
    folder = tmp_path_factory.mktemp("publish")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CATSEYE_HOME", str(folder / "home"))
        patch.setenv("BENTOML_HOME", str(folder / "bentoml"))
        data = shapes_folder(folder / "data", {CIRCLE: 12, SQUARE: 12})
        settings = TrainSettings(name="x", backbone="cnn", weights="none", size=32, head_epochs=3, epochs=3)
        yield learn(read_dataset(data, quiet=True), settings, new_run(settings, data))


def test_a_network_is_measured_before_it_is_stored_and_leaves_no_files(outcome):
    test = outcome.dataset.test
    with export_and_measure(outcome, int8=False) as measured:
        card, logits = measured.model.card, measured.float32.test
        by_keras = outcome.classifier.model.predict(load_batch(test, (32, 32)), verbose=0)
        np.testing.assert_allclose(logits, by_keras, atol=1e-3)
        assert card.metrics.accuracy == card.exports[0].accuracy == np.mean(logits.argmax(1) == labels_of(test))
        assert (outcome.folder / "model").is_dir()
    with export_outcome(outcome) as model, closing(open_runtime(model)) as runtime:
        np.testing.assert_array_equal(logits_of(runtime, test, model.card), logits)
    assert not (outcome.folder / "model").exists()
    assert store.list_models() == []
    with pytest.raises(KeyboardInterrupt), export_outcome(outcome):
        raise KeyboardInterrupt
    assert not (outcome.folder / "model").exists()


def test_the_stored_model_has_the_history_the_report_and_the_versions(outcome):
    with export_and_measure(outcome, int8=False) as measured:
        stored = store_measured(outcome, measured)
    (phase,), (kept,) = outcome.phases, read_history(stored.path).phases
    assert (kept.phase, kept.best_epoch, list(kept.history)) == (phase.phase, phase.best_epoch, phase.history)
    assert {"report.html", "plots/confusion.png", "history.json", "head.npz"} <= stored.card.files.keys()
    assert stored.card.versions == versions()
    assert {"keras", "openvino", "tensorflow"} <= versions().keys()


@pytest.mark.parametrize("labels", [(CIRCLE, "다른"), (CIRCLE, SQUARE)])
def test_a_variant_with_other_labels_is_refused_before_training(outcome, monkeypatch, tmp_path, labels):
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))
    monkeypatch.setenv("CATSEYE_HOME", str(tmp_path / "home"))
    store.save(small_card("shapes", labels=labels), writer())
    data = shapes_folder(tmp_path / "data", {CIRCLE: 12, SQUARE: 12})
    settings = TrainSettings(name="shapes-fast", backbone="cnn", weights="none", size=32, variant_of="shapes")
    assert read_dataset(data, quiet=True).labels != labels
    with pytest.raises(BadParameter, match=f"shapes:.* has the labels {', '.join(labels)}.*leave --variant-of out"):
        train(data, settings)
    assert not list(catseye_home().glob("features/*"))
