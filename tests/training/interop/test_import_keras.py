import keras
import numpy as np
import pytest

from models.arrays import softmax
from models.errors import BadData
from models.network.backbones import BACKBONES
from models.network.classifier import load_classifier
from models.runtime.open import open_runtime
from training.interop.import_keras import KerasFile, import_keras, read_labels, recognise

pytestmark = pytest.mark.long

LABELS = ("고양이", "dog", "bird")


@pytest.fixture(autouse=True)
def _homes(monkeypatch, tmp_path):
    monkeypatch.setenv("CATSEYE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))


def users_model(*extra):
    """As Keras's own guide makes it: a nested network, pooling, dropout, dense with softmax."""
    keras.utils.set_random_seed(1)
    base = keras.applications.MobileNetV2(input_shape=(64, 64, 3), include_top=False, weights=None)
    inputs = keras.Input((64, 64, 3))
    x = base(inputs, training=False)
    x = keras.layers.Dropout(0.3)(keras.layers.GlobalAveragePooling2D()(x))
    for layer in extra:
        x = layer(x)
    return keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(x))


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_an_existing_model_answers_as_before(tmp_path, suffix):
    model = users_model()
    path = tmp_path / f"cats{suffix}"
    model.save(path)
    stored = import_keras(path, "cats", LABELS)
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    wanted = model.predict(keras.applications.mobilenet_v2.preprocess_input(images.astype(np.float32)), verbose=0)
    runtime = open_runtime(stored)
    np.testing.assert_allclose(softmax(runtime.run(images)["logits"]), wanted, atol=1e-3)
    assert stored.card.labels == LABELS
    assert len(stored.card.taps) == 7
    assert load_classifier(stored.keras_path, stored.card).classes == 3


def guides_model(*before, outputs=1, activation="sigmoid", network="MobileNetV2"):
    """As Keras's guides to transfer learning make it: everything from the pixels on is inside."""
    keras.utils.set_random_seed(2)
    base = getattr(keras.applications, network)(input_shape=(64, 64, 3), include_top=False, weights=None)
    x = inputs = keras.Input((64, 64, 3))
    for step in before:
        x = step(x)
    x = keras.layers.GlobalAveragePooling2D()(base(x, training=False))
    return keras.Model(inputs, keras.layers.Dense(outputs, activation=activation)(keras.layers.Dropout(0.2)(x)))


def nested(layer):
    """A model of one layer, to be put into another."""
    inputs = keras.Input((64, 64, 3))
    return keras.Model(inputs, layer(inputs))


@pytest.mark.parametrize(
    "scaling", [keras.layers.Rescaling(1 / 127.5, offset=-1), keras.applications.mobilenet_v2.preprocess_input]
)
def test_scaling_augmentation_and_one_output_are_understood(tmp_path, scaling):
    chain = keras.Sequential([keras.layers.RandomFlip("horizontal"), keras.layers.RandomRotation(0.2)])
    model = guides_model(chain, scaling)
    path = tmp_path / "model.keras"
    model.save(path)
    stored = import_keras(path, "cats", ("cat", "dog"))
    images = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    wanted = model.predict(images.astype(np.float32), verbose=0)[:, 0]
    said = softmax(open_runtime(stored).run(images)["logits"])
    np.testing.assert_allclose(said[:, 1], wanted, atol=1e-3)


@pytest.mark.parametrize(
    ("model", "labels", "reason"),
    [
        (
            lambda: guides_model(keras.layers.Rescaling(1 / 255)),
            2,
            "otherwise than the preprocess_input of MobileNetV2",
        ),
        (lambda: guides_model(nested(keras.layers.Rescaling(1 / 255))), 2, "otherwise than the preprocess_input"),
        (lambda: guides_model(lambda x: x / 127.5), 2, "scales its pixels .TrueDivide. otherwise"),
        (
            lambda: guides_model(keras.layers.Rescaling(1 / 127.5, offset=-1), network="EfficientNetB0"),
            2,
            "otherwise than the preprocess_input of EfficientNetB0",
        ),
        (lambda: guides_model(outputs=3), 3, "ends in sigmoid, which is not supported"),
        (lambda: guides_model(outputs=1), 3, "Check the number of labels"),
        (lambda: guides_model(keras.layers.Resizing(64, 64)), 2, "Resizing"),
    ],
)
def test_what_would_answer_otherwise_is_refused(tmp_path, model, labels, reason):
    path = tmp_path / "model.keras"
    model().save(path)
    with pytest.raises(BadData, match=reason):
        import_keras(path, "cats", LABELS[:labels])


def test_code_and_other_heads_are_refused(tmp_path):
    for extra, reason in (
        (keras.layers.Lambda(lambda x: x), "'Lambda', which holds code"),
        (keras.layers.Dense(8), "not supported"),
        (keras.layers.LayerNormalization(), "LayerNormalization"),
    ):
        path = tmp_path / "model.keras"
        users_model(extra).save(path)
        with pytest.raises(BadData, match=reason):
            import_keras(path, "cats", LABELS, "mobilenet_v2")


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize("number", range(15), ids=list(BACKBONES)[:15])
def test_every_network_is_recognised(tmp_path, number):
    """Also where another of its kind was built before, so that Keras's automatic names have other numbers."""
    row = list(BACKBONES.values())[number]
    builder = getattr(keras.applications, row.title)
    if number % 5:
        builder(include_top=False, weights=None, input_shape=(96, 96, 3))
    base = builder(include_top=False, weights=None, input_shape=(96, 96, 3), pooling="avg")
    path = tmp_path / ("model.h5" if number % 2 else "model.keras")
    keras.Model(base.input, keras.layers.Dense(2)(base.output)).save(path)
    file = KerasFile.read(path)
    classifier = recognise(file, None, 2)
    assert classifier.backbone is row
    file.check_layers(classifier)
    kernel, _ = file.head(classifier)
    assert kernel.shape == (base.output_shape[-1], 2)
    keras.backend.clear_session()


def test_a_network_that_is_none_of_ours_says_so(tmp_path):
    path = tmp_path / "model.keras"
    users_model().save(path)
    with pytest.raises(BadData, match="does not contain the network resnet50"):
        import_keras(path, "cats", LABELS, "resnet50")
    base = keras.applications.MobileNetV2(input_shape=(64, 64, 3), include_top=False, weights=None, alpha=0.5)
    keras.Model(base.input, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(base.output))).save(path)
    with pytest.raises(BadData, match="contains no network that catseye supports"):
        import_keras(path, "cats", LABELS)


def test_what_is_no_model_or_has_other_labels_says_so(tmp_path):
    path = tmp_path / "model.keras"
    path.write_bytes(b"no model")
    with pytest.raises(BadData, match="holds no Keras model"):
        import_keras(path, "cats", LABELS, "mobilenet_v2")
    users_model().save(path)
    with pytest.raises(BadData, match="Check the number of labels"):
        import_keras(path, "cats", (*LABELS, "fish"), "mobilenet_v2")


def test_labels_are_lines(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text("\ufeffcat\n\n 개 \n", "utf-8")
    assert read_labels(path) == ("cat", "개")
    path.write_text("cat\ncrane\ndog\ncrane\n")
    with pytest.raises(BadData, match="more than once: 'crane'"):
        read_labels(path)
    path.write_text("cat\n")
    with pytest.raises(BadData, match="1 labels, and a classifier needs two"):
        read_labels(path)
