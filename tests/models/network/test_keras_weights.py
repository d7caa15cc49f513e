"""Weights out of files of every form that Keras writes, and refusals that name the layer."""

from collections.abc import Callable
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from models.errors import WeightsUnavailable
from models.network.classifier import Classifier, HeadSpec, build_classifier
from models.network.keras_weights import load_file
from tests.support.weight_sources import randomise, same_weights, save_like_imagenet

SIZE = 32


def keras_base(title: str = "MobileNet", size: int = SIZE, **options: object) -> keras.Model:
    builder = getattr(keras.applications, title)
    return randomise(builder(**{"include_top": False, "weights": None, "input_shape": (size, size, 3), **options}))


def nested(base: keras.Model) -> keras.Model:
    """What Keras's own guide teaches: the whole base as one layer, frozen, under a new head."""
    base.trainable = False
    image = keras.Input(base.input_shape[1:])
    x = keras.layers.GlobalAveragePooling2D()(base(image, training=False))
    return keras.Model(image, keras.layers.Dense(7)(x))


def partly_frozen(base: keras.Model) -> keras.Model:
    """Legacy files list what is trained first, so half-frozen networks are out of order."""
    model = nested(base)
    base.trainable = True
    for layer in base.layers[: len(base.layers) // 2]:
        layer.trainable = False
    return model


def saved(model: keras.Model, path: Path) -> Path:
    model.save_weights(path) if path.name.endswith(".weights.h5") else model.save(path)
    return path


FORMS: dict[str, Callable[[keras.Model, Path], Path]] = {
    "published": lambda base, folder: save_like_imagenet(base, folder / "base_notop.h5"),
    "legacy": lambda base, folder: saved(base, folder / "base.h5"),
    "legacy nested": lambda base, folder: saved(nested(base), folder / "model.h5"),
    "legacy half frozen": lambda base, folder: saved(partly_frozen(base), folder / "model.h5"),
    "keras": lambda base, folder: saved(base, folder / "base.keras"),
    "keras nested": lambda base, folder: saved(nested(base), folder / "model.keras"),
    "weights": lambda base, folder: saved(base, folder / "base.weights.h5"),
    "weights nested": lambda base, folder: saved(nested(base), folder / "model.weights.h5"),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_weights(form: str, tmp_path: Path) -> None:
    base = keras_base()
    path = FORMS[form](base, tmp_path)
    classifier = build_classifier("mobilenet", 3, input_size=SIZE)
    head = classifier.model.get_layer("logits").get_weights()
    assert not same_weights(classifier, base)
    load_file(classifier, path)
    assert same_weights(classifier, base)
    after = classifier.model.get_layer("logits").get_weights()
    assert all(np.array_equal(one, other) for one, other in zip(head, after, strict=True))


@pytest.mark.parametrize("suffix", [".h5", ".weights.h5", ".keras"])
def test_a_file_with_the_imagenet_classifier_fits_as_well(suffix: str, tmp_path: Path) -> None:
    base = keras_base(include_top=True, classes=10)
    path = saved(base, tmp_path / f"top{suffix}")
    classifier = build_classifier("mobilenet", 3, input_size=SIZE)
    load_file(classifier, path)
    assert same_weights(classifier, base)


def test_layers_that_keras_names_by_number_are_matched_by_order(tmp_path: Path) -> None:
    """An InceptionV3 that was not the first network of its process has other names than in a fresh one."""
    keras.layers.Conv2D(1, 1)
    base = keras_base("InceptionV3", 75)
    assert not any(layer.name == "conv2d" for layer in base.layers)
    classifier = build_classifier("inception_v3", 3, input_size=75)
    random = classifier.model.get_weights()
    for suffix in (".h5", ".weights.h5"):
        classifier.model.set_weights(random)
        load_file(classifier, saved(base, tmp_path / f"base{suffix}"))
        assert same_weights(classifier, base)


@pytest.mark.parametrize(
    ("name", "suffix"),
    [("vgg16", ".h5"), ("vgg16", ".weights.h5"), ("vgg16", ".keras"), ("efficientnet_b0", ".keras")],
)
def test_a_classifier_of_our_own_is_read_back(name: str, suffix: str, tmp_path: Path) -> None:
    """VGG16 has a convolution in its preprocessing, EfficientNet constants that follow from weights."""
    source = build_classifier(name, 5, input_size=SIZE, head=HeadSpec(depths="several", batch_norm=True), seed=1)
    randomise(keras.Model(source.model.input, source.model.get_layer(source.taps[-1].name).output))
    restore_preprocessing(source)
    target = build_classifier(name, 3, input_size=SIZE, seed=2)
    load_file(target, saved(source.model, tmp_path / f"model{suffix}"))
    pixels = np.random.default_rng(0).integers(0, 256, (1, SIZE, SIZE, 3), np.uint8)
    last = source.taps[-1].index
    ours, theirs = (np.asarray(part.output_model()(pixels)[f"tap_{last}"]) for part in (target, source))
    assert np.array_equal(ours, theirs)


def restore_preprocessing(classifier: Classifier) -> None:
    fresh = build_classifier(classifier.backbone, 2, input_size=SIZE)
    for layer in classifier.model.layers:
        if layer.name.startswith("preprocess_"):
            layer.set_weights(fresh.model.get_layer(layer.name).get_weights())


@pytest.mark.parametrize(
    ("title", "name", "words"),
    [
        ("MobileNet", "mobilenet_v2", r"layer 'expanded_conv_project' has shapes 1x1x32x16, the file 1x1x32x64"),
        ("VGG19", "vgg16", "'block3_conv4' too many"),
        ("VGG16", "vgg19", r"layer 'block3_conv4' has shapes 3x3x256x256 256, the file 3x3x256x512 512"),
    ],
)
def test_another_network_is_refused_by_its_first_layer_and_nothing_changes(
    title: str, name: str, words: str, tmp_path: Path
) -> None:
    path = saved(keras_base(title), tmp_path / "other.h5")
    classifier = build_classifier(name, 3, input_size=SIZE)
    before = classifier.model.get_weights()
    with pytest.raises(WeightsUnavailable, match=words) as caught:
        load_file(classifier, path)
    assert caught.value.detail.startswith(f"other.h5 does not fit {classifier.backbone.title}")
    after = classifier.model.get_weights()
    assert all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))


@pytest.mark.parametrize(("title", "name"), [("VGG19", "vgg16"), ("VGG16", "vgg19"), ("MobileNetV2", "mobilenet")])
def test_another_network_is_refused_in_the_newer_form_too(title: str, name: str, tmp_path: Path) -> None:
    path = saved(keras_base(title), tmp_path / "other.weights.h5")
    with pytest.raises(WeightsUnavailable, match="does not fit"):
        load_file(build_classifier(name, 3, input_size=SIZE), path)


def test_a_network_of_another_width_is_refused_with_both_shapes(tmp_path: Path) -> None:
    path = saved(keras_base(alpha=0.5), tmp_path / "narrow.h5")
    with pytest.raises(WeightsUnavailable, match=r"'conv1' has shapes 3x3x3x32, the file 3x3x3x16"):
        load_file(build_classifier("mobilenet", 3, input_size=SIZE), path)


# --- files that are not what they seem ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def mobilenet() -> Classifier:
    return build_classifier("mobilenet", 3, input_size=SIZE)


@pytest.mark.parametrize("suffix", [".h5", ".keras", ".weights.h5"])
@pytest.mark.parametrize("content", [b"", b"weights", b"PK\x03\x04 and no more", b"\x89HDF\r\n\x1a\n"])
def test_a_file_of_something_else_is_refused(
    mobilenet: Classifier, tmp_path: Path, suffix: str, content: bytes
) -> None:
    path = tmp_path / f"file{suffix}"
    path.write_bytes(content)
    with pytest.raises(WeightsUnavailable, match="no file of Keras weights, or a broken one"):
        load_file(mobilenet, path)


@pytest.mark.parametrize("suffix", [".h5", ".keras", ".weights.h5"])
def test_a_file_cut_anywhere_is_refused_and_changes_nothing(mobilenet: Classifier, tmp_path: Path, suffix: str) -> None:
    path = saved(keras_base(), tmp_path / f"file{suffix}")
    whole = path.read_bytes()
    before = mobilenet.model.get_weights()
    for share in (0.1, 0.5, 0.99):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(WeightsUnavailable):
            load_file(mobilenet, path)
    after = mobilenet.model.get_weights()
    assert all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))


def test_a_file_without_layers_is_refused(mobilenet: Classifier, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "empty.h5", "w") as file:
        file["picture"] = np.zeros(3)
    with pytest.raises(WeightsUnavailable, match="no layers with weights"):
        load_file(mobilenet, tmp_path / "empty.h5")


def test_a_link_into_another_file_is_not_followed(mobilenet: Classifier, tmp_path: Path) -> None:
    base = keras_base()
    saved(base, tmp_path / "secret.weights.h5")
    with h5py.File(tmp_path / "links.weights.h5", "w") as file:
        file["layers"] = h5py.ExternalLink(str(tmp_path / "secret.weights.h5"), "/layers")
    with pytest.raises(WeightsUnavailable, match="broken"):
        load_file(mobilenet, tmp_path / "links.weights.h5")
    assert not same_weights(mobilenet, base)


def test_an_array_that_lies_in_another_file_is_not_read(mobilenet: Classifier, tmp_path: Path) -> None:
    path = saved(keras_base(), tmp_path / "file.weights.h5")
    (tmp_path / "secret.bin").write_bytes(bytes(3 * 3 * 3 * 32 * 4))
    with h5py.File(path, "r+") as file:
        variables = file["layers/conv2d/vars"]
        del variables["0"]
        outside = [(str(tmp_path / "secret.bin"), 0, h5py.h5f.UNLIMITED)]
        variables.create_dataset("0", (3, 3, 3, 32), np.float32, external=outside)
    with pytest.raises(WeightsUnavailable, match="broken"):
        load_file(mobilenet, path)


def test_a_group_within_itself_ends(mobilenet: Classifier, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "loop.weights.h5", "w") as file:
        layers = file.create_group("layers")
        layers["again"] = file["/"]
    with pytest.raises(WeightsUnavailable):
        load_file(mobilenet, tmp_path / "loop.weights.h5")
