import numpy as np
import pytest

from models.export.head import read_head
from models.runtime.cam import class_activation
from models.runtime.open import open_runtime
from tests.support.shapes import CIRCLE, SQUARE, shapes_folder
from training.config import TrainSettings
from training.data.dataset import Fractions, labels_of, load_batch, read_dataset
from training.evaluate.metrics import logits_of
from training.pipeline import train
from training.publish import choose_precision
from training.publish.choose_precision import Predictions, accuracy, decide


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("precision")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CATSEYE_HOME", str(folder / "home"))
        patch.setenv("BENTOML_HOME", str(folder / "bentoml"))
        yield shapes_folder(folder / "shapes", {CIRCLE: 24, SQUARE: 24})


def trained(place, **changes):
    settings = {"backbone": "cnn", "weights": "none", "size": 32, "head_epochs": 6, "epochs": 6}
    reading = changes.pop("reading", {})
    return train(place, TrainSettings(name="shapes", **(settings | changes)), reading=reading)


@pytest.fixture(scope="module")
def int8(place):
    return trained(place, int8_drop=100.0)


def test_where_int8_is_allowed_its_file_serves_and_its_figures_stand_on_the_card(place, int8):
    card = int8.card
    assert card.served_precision == "int8"
    assert [export.precision for export in card.exports] == ["float32", "int8"]
    test = read_dataset(place, quiet=True).test
    runtime = open_runtime(int8)
    assert runtime.precision == "int8"
    logits = logits_of(runtime, test, card)
    assert card.exports[1].accuracy == card.metrics.accuracy == np.mean(logits.argmax(1) == labels_of(test))
    plain = logits_of(open_runtime(int8, precision="float32"), test, card)
    assert card.exports[0].accuracy == np.mean(plain.argmax(1) == labels_of(test))
    assert np.abs(plain - logits).max() > 0
    assert "calibrated on 34 images, head fitted on 34." in card.exports[1].note
    assert "Serves int8" in card.exports[1].note
    assert "Serves int8" in (int8.path / "report.html").read_text()


def test_class_activation_of_int8_adds_up_to_the_logits(place, int8):
    images = load_batch(read_dataset(place, quiet=True).test[:3], int8.card.input_size)
    runtime, (kernel, bias) = open_runtime(int8), read_head(int8.path, "int8")
    found = runtime.run(images, runtime.outputs)
    for row, logits in enumerate(found["logits"]):
        maps = {pool.tap: found[f"tap_{pool.tap}"][row] for pool in int8.card.head.pools}
        for label, logit in enumerate(logits):
            heat = class_activation(maps, kernel, bias, int8.card.head, label)
            assert heat.mean() + bias[label] == pytest.approx(logit, abs=1e-3)


def test_where_int8_loses_too_much_its_first_convolutions_are_spared(place, monkeypatch, capsys):
    tried = []

    def refuse_the_first(plain, rounded, most_drop, images):
        tried.append(rounded)
        return decide(plain, rounded, 100.0, images) if len(tried) == 2 else ("float32", "too much")

    monkeypatch.setattr("training.publish.choose_precision.decide", refuse_the_first)
    stored = trained(place, int8_drop=100.0, head_epochs=1, epochs=1)
    assert len(tried) == 2
    assert stored.card.served_precision == "int8"
    assert "performance preset, the first 5 convolutions in float32, calibrated on" in stored.card.exports[1].note
    assert "Serves int8" in " ".join(capsys.readouterr().out.split())


def test_off_makes_no_int8_file(place):
    stored = trained(place, int8="off", head_epochs=1, epochs=1)
    assert [export.precision for export in stored.card.exports] == ["float32"]
    assert stored.card.served_precision == "float32"
    assert not (stored.path / "openvino" / "int8.xml").exists()


def test_without_held_out_images_float_serves_and_it_says_why(place, capsys):
    reading = {"fractions": Fractions(validation=0, test=0)}
    stored = trained(place, reading=reading, head_epochs=1, epochs=1)
    assert stored.card.served_precision == "float32"
    assert stored.card.metrics is None
    assert "no image is held out" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("plain", "rounded", "most", "half", "serves"),
    [
        (0.9, 0.895, 0.5, None, "int8"),
        (0.9, 0.894, 0.5, None, "float32"),
        (0.9, 0.91, 0.0, None, "int8"),
        (0.9, 0.899, 0.0, None, "float32"),
        (0.9, 0.894, 0.5, 0.895, "bfloat16"),
        (0.9, 0.894, 0.5, 0.894, "float32"),
        (0.9, 0.895, 0.5, 0.95, "int8"),
    ],
)
def test_the_bound_decides(plain, rounded, most, half, serves):
    chosen, reason = decide(plain, rounded, most, "1000 test images", half)
    assert chosen == serves
    assert f"Serves {serves}: on 1000 test images int8 has accuracy {rounded:.2%}, float32 {plain:.2%}" in reason
    if half is not None and serves != "int8":
        assert f"bfloat16 {half:.2%}" in reason


@pytest.mark.parametrize("able", [True, False])
def test_where_int8_is_refused_bfloat16_serves_on_processors_that_have_it(place, monkeypatch, able):
    """A processor without it cannot measure it, and one that has it runs it: what is measured here is real on those."""
    monkeypatch.setattr("training.publish.choose_precision.has_bfloat16", lambda: able)
    monkeypatch.setattr("training.publish.choose_precision.quantized", useless(choose_precision.quantized))
    stored = trained(place, int8_drop=0.0, head_epochs=1, epochs=1)
    note = stored.card.exports[1].note
    assert "int8 drops by" in note
    assert (", bfloat16 " in note) == able
    serves = stored.card.served_precision
    assert f"Serves {serves}" in note
    assert serves in (("bfloat16", "float32") if able else ("float32",))
    logits = logits_of(open_runtime(stored), read_dataset(place, quiet=True).test, stored.card)
    assert stored.card.metrics.accuracy == np.mean(logits.argmax(1) == labels_of(read_dataset(place, quiet=True).test))


def useless(rounded):
    """The int8 export as it is made, measured as if it were never right."""

    def measured(*arguments):
        answers, export = rounded(*arguments)
        return answers, export.model_copy(update={"accuracy": -1.0})

    return measured


def test_accuracy_is_of_the_validation_images_where_none_are_for_testing(place):
    dataset = read_dataset(place, quiet=True, fractions=Fractions(validation=0.5, test=0))
    truth = labels_of(dataset.validation)
    right = np.eye(2, dtype=np.float32)[np.where(np.arange(len(truth)) < 6, truth, 1 - truth)]
    assert accuracy(Predictions("float32", right, right[:0]), dataset) == 6 / len(truth)
