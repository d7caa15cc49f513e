import csv
import io

import numpy as np
import pytest
from PIL import Image

from models.card import WeightsProvenance
from models.errors import BadData
from models.store import store
from tests.support.shapes import CIRCLE, SQUARE, shapes_folder
from training import pipeline as training
from training.config import TrainSettings
from training.examples.compare import (
    DIRECTIONS,
    PLOT_FILE,
    SHARES,
    TABLE_FILE,
    Result,
    as_csv,
    compare,
    correct_when_shifted,
    methods,
    shifted,
)


@pytest.fixture
def homes(monkeypatch, tmp_path):
    monkeypatch.setenv("CATSEYE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))
    return tmp_path


@pytest.mark.long
def test_four_methods_on_one_split(homes, monkeypatch, capsys):
    def load(classifier, source):
        kind = "none" if source == "none" else "file"
        return WeightsProvenance(source=kind, detail="weights of this test")

    monkeypatch.setattr(training, "load_weights", load)
    data = shapes_folder(homes / "도형", {CIRCLE: 16, SQUARE: 16})
    settings = TrainSettings(name="compare", backbone="cnn", size=32, head_epochs=3, epochs=1)
    results = compare(data, settings)
    assert [result.backbone for result in results] == ["mlp", "cnn", "cnn", "cnn"]
    assert len({result.images for result in results}) == 1
    mlp, cnn = results[:2]
    assert mlp.weights > cnn.weights > 0
    folder = next(path.parent for path in (homes / "home" / "runs").glob(f"*/{PLOT_FILE}"))
    with Image.open(folder / PLOT_FILE) as plot:
        assert plot.width > 600
    rows = list(csv.DictReader(io.StringIO((folder / TABLE_FILE).read_text("utf-8"))))
    assert len(rows) == 4 * len(SHARES)
    assert float(rows[0]["accuracy"]) == round(mlp.accuracies[0], 4)
    assert store.list_models() == []
    printed = capsys.readouterr().out
    assert "fine-tuning" in printed
    assert f"{mlp.weights:,}" in printed


def test_the_four_methods_differ_only_in_what_they_compare():
    settings = TrainSettings(name="x", backbone="resnet50", freeze="few", seed=7, mirror="all")
    mlp, cnn, features, tuned = methods(settings).values()
    assert (mlp.backbone, cnn.backbone, mlp.weights, cnn.weights) == ("mlp", "cnn", "none", "none")
    assert (features.freeze, tuned.freeze, tuned.backbone) == ("head", "few", "resnet50")
    assert {one.seed for one in (mlp, cnn, features, tuned)} == {7}
    assert {one.mirror for one in (mlp, cnn, features, tuned)} == {"all"}


def test_the_interval_stands_beside_every_accuracy():
    result = Result(
        title="MLP", backbone="mlp", pixels=32, weights=10, seconds=1.0, images=100, correct=(90, 80, 70, 60, 50, 40)
    )
    rows = list(csv.DictReader(io.StringIO(as_csv([result]).decode())))
    assert [row["accuracy"] for row in rows] == ["0.9000", "0.8000", "0.7000", "0.6000", "0.5000", "0.4000"]
    # Wilson 1927, 90 of 100.
    assert (rows[0]["low"], rows[0]["high"]) == ("0.8256", "0.9448")


def test_data_without_test_images_are_refused(homes):
    data = homes / "data"
    for part in ("train", "val", "test"):
        shapes_folder(data / part, {CIRCLE: 3, SQUARE: 3})
    for path in (data / "test").rglob("*.png"):
        path.rename(path.with_suffix(".txt"))
    with pytest.raises(BadData, match="holds out no test images"):
        compare(data, TrainSettings(name="compare", size=32))


def test_nothing_is_lost_and_the_four_directions_take_turns():
    images = np.random.default_rng(0).integers(0, 255, (4, 8, 8, 3), np.uint8)
    moved = shifted(images, 0.25)
    for image, one, (down, right) in zip(images, moved, DIRECTIONS, strict=True):
        np.testing.assert_array_equal(one, np.roll(image, (2 * down, 2 * right), (0, 1)))
    np.testing.assert_array_equal(shifted(images, 0.0), images)
    np.testing.assert_array_equal(shifted(images[2:], 0.25, first=2), moved[2:])


def test_a_network_that_looks_at_one_place_is_lost_and_one_that_looks_everywhere_is_not():
    dots = np.zeros((6, 20, 20, 3), np.uint8)
    truth = np.arange(6) % 2
    dots[truth == 1, 10, 10] = 255

    def one_place(images):
        seen = images[:, 10, 10, 0] / 255
        return np.stack([1 - seen, seen], 1)

    def everywhere(images):
        seen = images.max((1, 2, 3)) / 255
        return np.stack([1 - seen, seen], 1)

    found = [correct_when_shifted(f, lambda a, b: dots[a:b], truth, batch=4) for f in (one_place, everywhere)]
    assert found[0].shape == (len(SHARES), 6)
    assert found[0].mean(1).tolist() == [1.0] + [0.5] * 5
    assert found[1].all()
