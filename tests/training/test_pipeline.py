from collections import Counter

import keras
import numpy as np
import pytest

from models.arrays import softmax
from models.errors import BadData, BadParameter
from models.export.head import read_head
from models.network.classifier import build_classifier
from models.network.freezing import apply_freeze
from models.runtime.open import open_runtime
from models.store import store
from models.store.history import read_history
from models.store.store import KERAS_FILE
from tests.support.shapes import CIRCLE, SQUARE, TRIANGLE, shapes_folder
from training import pipeline as training
from training.config import TrainSettings
from training.data.dataset import load_batch, read_dataset
from training.features.keras_dataset import sample_weights
from training.fit.optimizer import measure_layer_rates
from training.pipeline import train

SHORT = {"head_epochs": 1, "epochs": 1}


@pytest.fixture
def homes(monkeypatch, tmp_path):
    monkeypatch.setenv("CATSEYE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))
    return tmp_path


@pytest.fixture
def shapes(homes):
    counts = {CIRCLE: 20, SQUARE: 20, TRIANGLE: 2}
    return shapes_folder(homes / "모양", counts, broken=True)


def pretrained_here(folder, backbone="cnn", **settings):
    """Settings of a run that starts from a file of weights, though random ones."""
    path = folder / "weights.keras"
    build_classifier(backbone, 3, input_size=32, seed=0).model.save(path)
    return TrainSettings(backbone=backbone, weights=str(path), size=32, int8="off", **settings)


def both_runtimes_agree(stored, samples):
    images = load_batch(samples, stored.card.input_size)
    answers = []
    for kind in ("openvino", "tensorflow"):
        runtime = open_runtime(stored, kind, precision="float32")
        answers.append(softmax(runtime.run(images)["logits"]))
        runtime.close()
    np.testing.assert_allclose(answers[0], answers[1], atol=1e-3)


def test_drawn_shapes_to_a_stored_classifier(homes, shapes, capsys):
    settings = TrainSettings(name="shapes", backbone="cnn", weights="none", size=64, head_epochs=12, epochs=12)
    stored = train(shapes, settings)
    card = store.get("shapes").card
    assert stored.card == card
    assert card.labels == tuple(sorted((CIRCLE, SQUARE, TRIANGLE)))
    assert card.data.skipped == 1
    assert card.metrics.images == card.split.test
    assert card.settings == settings.as_dict()
    served = {export.precision: export for export in card.exports}[card.served_precision]
    assert served.accuracy == card.metrics.accuracy
    dataset = read_dataset(shapes, seed=0, quiet=True)
    both_runtimes_agree(stored, dataset.test)
    kernel, bias = read_head(stored.path, card.served_precision)
    outputs = open_runtime(stored).run(load_batch(dataset.test, (64, 64)), ("logits", "embedding"))
    np.testing.assert_allclose(outputs["embedding"] @ kernel + bias, outputs["logits"], atol=1e-3)
    printed = capsys.readouterr().out
    (phase,) = read_history(stored.path).phases
    assert [row["epoch"] for row in phase.history] == list(range(1, len(phase.history) + 1))
    assert min(row["val_loss"] for row in phase.history) == phase.history[phase.best_epoch - 1]["val_loss"]
    assert "history.json" in card.files
    assert "깨진 파일.png" in printed
    assert "95 % interval" in printed
    assert "Training ended after 12 of at most 12 epochs and kept epoch" in printed.replace("\n", " ")
    assert store.get("shapes").tag in (next((homes / "home" / "runs").iterdir()) / "stored.json").read_text()


@pytest.mark.long
def test_two_phases_leave_the_statistics_of_the_base_alone(homes, shapes):
    settings = pretrained_here(homes, "mobilenet_v2", name="mobile", freeze="most", layer_decay=0.5, **SHORT)
    before = statistics(keras.saving.load_model(settings.weights))
    stored = train(shapes, settings)
    for one, other in zip(before, statistics(keras.saving.load_model(stored.path / KERAS_FILE)), strict=True):
        np.testing.assert_array_equal(one, other)
    assert stored.card.weights.source == "file"
    both_runtimes_agree(stored, read_dataset(shapes, quiet=True).test)


@pytest.mark.parametrize(
    ("freeze", "how"), [("none", "new variants in every epoch"), ("most", "4 augmented copies of each image")]
)
def test_only_training_images_are_augmented(homes, shapes, capsys, freeze, how):
    settings = pretrained_here(homes, name="varied", freeze=freeze, augment="rotate, brightness=0.3", **SHORT)
    stored = train(shapes, settings)
    printed = " ".join(capsys.readouterr().out.split())
    assert how in printed
    assert stored.card.settings["augment"] == "rotate=10, brightness=0.3"
    run = next((homes / "home" / "runs").iterdir())
    assert (run / "plots" / "augmentation.png").read_bytes().startswith(b"\x89PNG")
    assert "Augmentation</h2>" in (stored.path / "report.html").read_text()
    copies = {path.name for path in (homes / "home" / "features").glob("*/copy-*")}
    assert len(copies) == 4
    plain = sum(len(path.read_text().split("\n")) for path in (homes / "home" / "features").glob("*/plain/*.txt"))
    varied = sum(len(path.read_text().split("\n")) for path in (homes / "home" / "features").glob("*/copy-*-0/*.txt"))
    held = stored.card.split.validation
    cuts = 1 if freeze == "none" else 2
    assert plain - varied == cuts * held


def statistics(model):
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    return [values for layer in norms for values in layer.get_weights()]


def test_a_killed_run_is_resumed_to_the_same_model(homes, shapes, monkeypatch):
    settings = TrainSettings(
        name="shapes", backbone="cnn", weights="none", size=32, head_epochs=4, epochs=4, int8="off"
    )
    whole = train(shapes, settings)

    class Killed(BaseException):
        pass

    def kill(outcome):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(training, "publish", kill)
        with pytest.raises(Killed):
            train(shapes, settings)
    assert len(store.list_models("shapes")) == 1
    resumed = train(homes, TrainSettings(name="shapes"), resume=True)
    assert resumed.card.settings == settings.as_dict()
    np.testing.assert_allclose(read_head(resumed.path)[0], read_head(whole.path)[0], atol=1e-5)
    with pytest.raises(BadParameter, match="no unfinished run"):
        train(homes, settings, resume=True)


def test_features_are_looked_up_once_in_a_run(homes, shapes, monkeypatch):
    """They were looked up three times: for the scale of the head, for its training, and to choose what to freeze."""
    settings = pretrained_here(homes, name="once", freeze="auto", head_epochs=1, epochs=0)
    dataset = read_dataset(shapes, quiet=True)
    training.learn(dataset, settings, training.new_run(settings, shapes))
    opened = []
    load = np.load
    monkeypatch.setattr(np, "load", lambda path, **options: opened.append(path) or load(path, **options))
    training.learn(dataset, settings, training.new_run(settings, shapes))
    shards = Counter(path for path in opened if str(path).endswith(".npy"))
    assert len(shards) == 3
    assert max(shards.values()) == 2  # Once for the training images, once for the validation images.


def test_patience_is_what_was_asked_for(homes, shapes):
    """A patience below 10 was raised to 10 for the head."""
    settings = pretrained_here(
        homes, name="brief", freeze="head", head_epochs=40, patience=2, learning_rate=1.0, l2=10.0
    )
    dataset = read_dataset(shapes, quiet=True)
    outcome = training.learn(dataset, settings, training.new_run(settings, shapes))
    (phase,) = outcome.phases
    assert phase.epoch == phase.best_epoch + 2 < 12


def test_nothing_to_train_is_refused(homes, shapes):
    settings = TrainSettings(name="shapes", backbone="cnn", weights="none", size=32, epochs=0)
    with pytest.raises(BadParameter, match="--epochs 0 trains nothing"):
        train(shapes, settings)


def test_freezing_random_weights_is_refused(homes, shapes):
    settings = TrainSettings(name="shapes", backbone="cnn", weights="none", size=32, freeze="head")
    with pytest.raises(BadParameter, match="--freeze head needs pretrained weights"):
        train(shapes, settings)


def test_a_class_of_one_image_says_what_to_do(homes):
    folder = shapes_folder(homes / "few", {CIRCLE: 3, SQUARE: 1})
    with pytest.raises(BadData, match="Add images"):
        train(folder, TrainSettings(name="few", backbone="cnn", weights="none"))


def test_many_unreadable_files_stop_a_run_unless_allowed(homes, shapes):
    for i in range(4):
        (shapes / CIRCLE / f"broken {i}.png").write_bytes(b"no image")
    settings = {"name": "shapes", "backbone": "cnn", "weights": "none", "size": 32, "head_epochs": 1, "epochs": 1}
    with pytest.raises(BadData, match=r"5 of 47 files cannot be read.*--allow-unreadable"):
        train(shapes, TrainSettings(**settings))
    stored = train(shapes, TrainSettings(**settings, allow_unreadable=True, int8="off"))
    assert stored.card.data.skipped == 5


def test_balanced_classes_have_the_same_weight(homes):
    samples = read_dataset(shapes_folder(homes / "d", {CIRCLE: 9, SQUARE: 3}), quiet=True).samples
    weights = sample_weights(samples, 2, balanced=True)
    labels = np.array([s.label for s in samples])
    assert weights[labels == 0].sum() == pytest.approx(weights[labels == 1].sum())
    assert sample_weights(samples, 2, balanced=False).tolist() == [1.0] * 12


@pytest.mark.parametrize(("clip_norm", "moves"), [(1.0, True), (1e-14, False)])
def test_gradients_of_fine_tuning_are_clipped(homes, shapes, clip_norm, moves):
    """A norm that is small beside Adam's epsilon leaves the weights as they were."""
    settings = pretrained_here(homes, name="clipped", freeze="none", head_epochs=1, epochs=6, clip_norm=clip_norm)
    outcome = training.learn(read_dataset(shapes, quiet=True), settings, training.new_run(settings, shapes))
    before = next(w for w in build_classifier("cnn", 3, input_size=32, seed=0).model.get_weights() if w.ndim == 4)
    after = next(w for w in outcome.phases[1].arrays["weights"] if w.ndim == 4)
    moved = float(np.abs(after - before).max())
    assert (moved > 1e-6) == moves, moved


def test_fine_tuning_has_a_learning_rate_for_every_layer(homes, shapes):
    """Adam's steps are as long as the learning rate, so the weights' changes show each layer's."""
    settings = pretrained_here(homes, name="rates", freeze="none", head_epochs=1, epochs=3, batch_size=8)
    dataset = read_dataset(shapes, quiet=True)
    outcome = training.learn(dataset, settings, training.new_run(settings, shapes))
    fresh = build_classifier("cnn", 3, input_size=32, seed=0)
    apply_freeze(fresh, "none")
    shares = measure_layer_rates(fresh, load_batch(dataset.train, (32, 32)))
    steps = {}
    for layer in fresh.backbone_layers():
        if layer.name in shares:
            before, after = layer.get_weights()[0], outcome.phases[1].arrays["weights"][2 * len(steps)]
            share = np.maximum(shares[layer.name][0], 1e-12)
            steps[layer.name] = float(
                np.median(np.abs(after - before).max((0, 1, 2))[share > 1e-6] / share[share > 1e-6])
            )
    assert len(steps) == 4
    assert max(steps.values()) < 3 * min(steps.values())
    typical = [float(np.median(shares[name][0])) for name in steps]
    assert max(typical) > 10 * min(typical)
