"""One flat graph for every row of the table: counts, taps, heads, files, and answers that agree with Keras."""

import base64
import gc
import io
import json
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from models.card import Card, WeightsProvenance
from models.errors import BadParameter, StoreError
from models.network.backbones import BACKBONES
from models.network.classifier import (
    Classifier,
    HeadSpec,
    build_classifier,
    head_arrays,
    load_classifier,
    split_number,
)
from service.rendering.feature_grid import Layer, feature_grids
from service.rendering.tiles import tiles
from tests.support.networks import images, network
from tests.support.weight_sources import keras_module

LABELS = ("cat", "dog", "고양이")


def photograph(size: int) -> NDArray[np.uint8]:
    """(1, size, size, 3): light that falls off, edges, texture and three different channels."""
    y, x = np.mgrid[0 : 1 : size * 1j, 0 : 1 : size * 1j]
    light = 200 * np.exp(-2 * ((x - 0.3) ** 2 + (y - 0.4) ** 2))
    edges = 40 * ((x * 5 + y * 3).astype(int) % 2)
    grain = np.random.default_rng(0).normal(0, 8, (size, size))
    channels = np.stack([light + edges, 0.8 * light + grain, 255 - light], -1)
    return channels.clip(0, 255).astype(np.uint8)[None]


def card_of(classifier: Classifier, **changes: object) -> Card:
    card = Card(
        name="pets",
        labels=LABELS,
        backbone=classifier.backbone.name,
        input_size=classifier.input_size,
        weights=WeightsProvenance(source="none", detail="random"),
        taps=classifier.taps,
        head=classifier.head,
        parameters=classifier.model.count_params(),
    )
    return card.model_copy(update=changes)


def imagenet_classifier_parameters(name: str, channels: int) -> int:
    """Weights of Keras's own classifier of 1,000 classes on a final map with so many channels."""
    if name.startswith("vgg"):
        return (7 * 7 * channels + 1) * 4096 + (4096 + 1) * 4096 + (4096 + 1) * 1000
    return (channels + 1) * 1000


# --- every row of the table, at the lecture's input size -------------------------------------------------


# The others of a family, and the largest, take a minute and a half: `make test-long`.
ONE_OF_EACH = {
    *("vgg16", "xception", "resnet50", "inception_v3", "mobilenet_v2", "densenet121", "efficientnet_b0"),
    *("mlp", "cnn"),
}


@pytest.fixture(
    scope="module",
    params=[name if name in ONE_OF_EACH else pytest.param(name, marks=pytest.mark.long) for name in BACKBONES],
)
def row(request: pytest.FixtureRequest) -> Iterator[Classifier]:
    """Each network once, with a head on several depths."""
    head = HeadSpec(depths="several", batch_norm=True)
    yield build_classifier(str(request.param), len(LABELS), head=head)
    gc.collect()


def test_it_has_the_lectures_size_and_parameter_count(row: Classifier) -> None:
    size = row.backbone.input_size
    assert row.input_size == (size, size)
    assert row.model.input_shape == (None, size, size, 3)
    assert row.model.input.dtype == "uint8"
    assert row.classes == len(LABELS)
    base = sum(layer.count_params() for layer in row.backbone_layers())
    channels = row.taps[-1].shape[2] if row.taps else row.head.embedding_size
    counted = base + imagenet_classifier_parameters(row.backbone.name, channels)
    # Exactly the table's count, which another test holds to the lecture's within 2 %.
    assert counted == row.backbone.parameters


def test_its_taps_go_from_early_to_late_with_true_strides(row: Classifier) -> None:
    names = [layer.name for layer in row.backbone_layers()]
    assert tuple(tap.name for tap in row.taps) == row.backbone.taps
    assert [tap.index for tap in row.taps] == list(range(len(row.taps)))
    places = [names.index(tap.name) for tap in row.taps]
    assert places == sorted(places)
    assert places[-1:] == ([len(names) - 1] if row.taps else [])
    strides = [tap.stride for tap in row.taps]
    assert strides == sorted(strides)
    assert {4, 8} <= set(strides) or row.backbone.name == "mlp"
    assert not row.backbone.pretrained or strides[-1] == 32
    size = row.backbone.input_size
    for tap in row.taps:
        assert tap.shape == row.model.get_layer(tap.name).output.shape[1:]
        # Without padding a map loses a few cells at its edge, never more than five.
        assert size / tap.stride - 5 < tap.shape[0] <= -(-size // tap.stride) + 1


def test_its_head_is_the_averages_of_all_taps_in_order(row: Classifier) -> None:
    assert [pool.tap for pool in row.head.pools] == [tap.index for tap in row.taps]
    edges = [0, *(pool.stop for pool in row.head.pools)]
    assert [pool.start for pool in row.head.pools] == edges[:-1]
    assert [pool.stop - pool.start for pool in row.head.pools] == [tap.shape[2] for tap in row.taps]
    assert row.head.embedding_size == (edges[-1] or 128) == row.model.get_layer("embedding").output.shape[1]


def test_its_layers_keep_keras_names_and_order_and_its_statistics_stand_still(row: Classifier) -> None:
    names = [layer.name for layer in row.backbone_layers()]
    flat = [layer.name for layer in row.model.layers]
    assert len(set(flat)) == len(flat)
    assert [name for name in flat if name in set(names)] == names
    numbered = [name for name in names if name.startswith(("conv2d", "activation_"))]
    assert not numbered or "conv2d" in names
    norms = [layer for layer in row.backbone_layers() if isinstance(layer, keras.layers.BatchNormalization)]
    assert not any(layer.trainable_weights for layer in norms)
    assert row.model.get_layer("head_batch_norm").trainable_weights


def test_its_freeze_points_cut_the_network_at_one_map(row: Classifier) -> None:
    """Nothing but one tensor crosses from the frozen part to the trained, whichever way the network branches."""
    layers = row.backbone_layers()
    names = [layer.name for layer in layers]
    points = {way: names.index(name) for way, name in row.backbone.freeze_points.items()}
    assert 0 < points["few"] <= points["most"] < len(names)
    for way, point in points.items():
        below = {id(layer.output): layer.output for layer in layers[:point]}
        inputs = {id(tensor) for layer in layers[point:] for tensor in keras.tree.flatten(layer.input)}
        (crossing,) = below.keys() & inputs
        if row.backbone.pretrained:
            stride = 2 ** round(np.log2(row.backbone.input_size / below[crossing].shape[1]))
            # DenseNet shrinks its map at the end of a stage, the others at the beginning of the next.
            assert stride in ((8, 16) if way == "few" else (16, 32))


def test_it_answers_a_photograph_as_keras_does_and_again_from_its_file(row: Classifier, tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    row.model.save(path)
    loaded = load_classifier(path, card_of(row))
    path.unlink()
    for ours, theirs in zip(row.model.layers, loaded.model.layers, strict=True):
        assert (ours.name, ours.trainable) == (theirs.name, theirs.trainable)
        pairs = zip(ours.get_weights(), theirs.get_weights(), strict=True)
        assert all(np.array_equal(one, other) for one, other in pairs)
    pixels = photograph(row.backbone.input_size)
    # The largest network only to its first map: behind it are Keras's own layers, and seconds of arithmetic.
    taps = row.taps[:1] if row.backbone.input_size > 299 else row.taps[-1:]
    place = taps[0].name if taps else "hidden_2"
    found = np.asarray(keras.Model(row.model.input, row.model.get_layer(place).output)(pixels))
    assert found.std() > 0
    if not row.backbone.pretrained:
        again = keras.Model(loaded.model.input, loaded.model.get_layer(place).output)(pixels)
        assert np.array_equal(found, np.asarray(again))
    else:
        # Keras's own preprocess_input, then Keras's own layers (the loaded copy's) without our preprocessing.
        preprocess_input = keras_module(row.backbone).preprocess_input
        network = keras.Model(loaded.backbone_layers()[0].input, loaded.model.get_layer(place).output)
        expected = np.asarray(network(preprocess_input(pixels.astype(np.float32))))
        assert np.abs(found - expected).max() < 1e-3 * np.abs(expected).max()


def test_its_layers_are_drawn_without_a_broken_picture(row: Classifier) -> None:
    """The grids of the layers, and their channels one by one, at the network's own input size."""
    pixels = photograph(row.backbone.input_size)
    # The largest network only to its third map: behind it are seconds of arithmetic, and maps of a few cells.
    taps = row.taps[:3] if row.backbone.input_size > 299 else row.taps
    outputs = [row.model.get_layer(tap.name).output for tap in taps]
    maps = [m.numpy()[0] for m in keras.Model(row.model.input, outputs)(pixels)] if outputs else []
    kernel, _ = head_arrays(row)
    for tap, values in zip(taps, maps, strict=True):
        assert np.isfinite(values).all(), tap.name
        sheet = Image.open(io.BytesIO(feature_grids([Layer(maps=values, tap=tap)], image=pixels[0]))).convert("RGB")
        assert sheet.getcolors(100) is None, tap.name  # more than a hundred colours
        (layer,) = json.loads(tiles({}, [(tap, values)], [None], card_of(row), kernel))["layers"]
        drawn = [Image.open(io.BytesIO(base64.b64decode(tile["png"]))) for tile in layer["tiles"]]
        assert len(drawn) == min(24, tap.shape[2])
        assert all(max(picture.size) == min(112, max(tap.shape[:2])) for picture in drawn)
        assert all(np.ptp(np.asarray(picture), axis=(0, 1)).any() for picture in drawn), tap.name
        assert all(len(tile["labels"]) == len(LABELS) for tile in layer["tiles"])


# --- the parts, on small networks -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mobilenet_v2", "vgg16", "densenet121", "efficientnet_b0"])
def test_the_flat_graph_is_keras_model_behind_keras_preprocessing(name: str) -> None:
    """One network for each kind of preprocessing, built by Keras alone, with the same weights."""
    ours = build_classifier(name, 3, input_size=64)
    module = keras_module(ours.backbone)
    theirs = getattr(keras.applications, ours.backbone.title)(
        include_top=False, weights=None, input_shape=(64, 64, 3), pooling="avg"
    )
    sources = [layer for layer in ours.backbone_layers() if layer.weights]
    targets = [layer for layer in theirs.layers if layer.weights]
    for source, target in zip(sources, targets, strict=True):
        target.set_weights(source.get_weights())
        if isinstance(target, keras.layers.Normalization):
            target.finalize_state()
    pixels = photograph(64)
    expected = np.asarray(theirs(module.preprocess_input(pixels.astype(np.float32))))
    found = np.asarray(ours.output_model()(pixels)["embedding"])
    assert np.allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("depths", ["last", "several"])
@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("name", ["cnn", "mlp"])
def test_logits_are_the_embedding_times_the_head_arrays(name: str, depths: str, batch_norm: bool) -> None:
    head = HeadSpec(depths="last" if depths == "last" else "several", batch_norm=batch_norm)
    classifier = build_classifier(name, 4, input_size=32, head=head)
    random = np.random.default_rng(1)
    for layer in classifier.head_layers():
        layer.set_weights([random.uniform(0.5, 2, values.shape) for values in layer.get_weights()])
    outputs = classifier.output_model()(images(3, 32), training=False)
    kernel, bias = head_arrays(classifier)
    assert kernel.shape == (classifier.head.embedding_size, 4)
    assert kernel.dtype == bias.dtype == np.float32
    expected = np.asarray(outputs["logits"])
    assert np.allclose(np.asarray(outputs["embedding"]) @ kernel + bias, expected, rtol=1e-4, atol=1e-3)


def test_the_embedding_is_the_maps_averages() -> None:
    classifier = network("cnn", "several")
    outputs = {name: np.asarray(value) for name, value in classifier.output_model()(images(2, 32)).items()}
    averages = [outputs[f"tap_{tap.index}"].mean((1, 2)) for tap in classifier.taps]
    assert np.allclose(outputs["embedding"], np.concatenate(averages, 1), rtol=1e-4, atol=1e-5)


def test_dropout_is_off_while_predicting_and_on_while_training() -> None:
    """The lecture: random neurons off while training, all of them used when predicting."""
    classifier = build_classifier("cnn", 3, input_size=32, head=HeadSpec(dropout=0.5))
    pixels = images(2, 32)
    one, other = (np.asarray(classifier.model(pixels, training=False)) for _ in range(2))
    assert np.array_equal(one, other)
    one, other = (np.asarray(classifier.model(pixels, training=True)) for _ in range(2))
    assert not np.array_equal(one, other)
    assert [layer.name for layer in classifier.head_layers()] == ["head_dropout", "logits"]


def test_l2_adds_the_squared_kernel_to_the_loss() -> None:
    classifier = build_classifier("cnn", 3, input_size=32, head=HeadSpec(l2=0.01, dropout=0))
    kernel = classifier.model.get_layer("logits").kernel.numpy()
    assert float(sum(classifier.model.losses)) == pytest.approx(0.01 * np.square(kernel).sum(), rel=1e-5)
    assert [layer.name for layer in classifier.head_layers()] == ["logits"]


def test_the_seed_decides_the_weights() -> None:
    first, again, other = (build_classifier("cnn", 3, input_size=32, seed=seed) for seed in (5, 5, 6))
    pairs = list(zip(first.model.get_weights(), again.model.get_weights(), strict=True))
    assert all(np.array_equal(one, two) for one, two in pairs)
    assert not np.array_equal(first.model.get_weights()[0], other.model.get_weights()[0])


def test_an_image_need_not_be_square() -> None:
    classifier = build_classifier("mobilenet_v2", 3, input_size=(64, 96))
    assert classifier.input_size == (64, 96)
    assert classifier.taps[-1].shape == (2, 3, 1280)
    assert np.asarray(classifier.model(np.zeros((1, 64, 96, 3), np.uint8))).shape == (1, 3)


@pytest.mark.parametrize(("name", "number"), [("conv2d", 0), ("conv2d_12", 12), ("mixed_5b", 0), ("_3", 0)])
def test_automatic_names_are_taken_apart(name: str, number: int) -> None:
    prefix, found = split_number(name)
    assert found == number
    assert prefix == (name.removesuffix(f"_{number}") if number else name)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"backbone": "resnet"}, "resnet50"),
        ({"classes": 1}, "at least 2 classes"),
        ({"input_size": 70, "backbone": "xception"}, "71 to 2048"),
        ({"input_size": (32, 4096)}, "32x4096"),
    ],
)
def test_what_cannot_be_built_is_refused_in_a_sentence(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(BadParameter, match=words):
        build_classifier(**{"backbone": "cnn", "classes": 3, **arguments})  # type: ignore[arg-type]  # mixed


# --- files --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small() -> Classifier:
    return build_classifier("cnn", len(LABELS), input_size=32, head=HeadSpec(l2=0.01, batch_norm=True))


def test_a_file_loads_with_plain_keras_in_safe_mode(small: Classifier, tmp_path: Path) -> None:
    small.model.save(tmp_path / "model.keras")
    plain = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    pixels = images(2, 32)
    assert np.array_equal(np.asarray(plain(pixels)), np.asarray(small.model(pixels)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": ("cat", "dog")}, "labels"),
        ({"input_size": (64, 64)}, "input size"),
        ({"taps": ()}, None),
        ({"backbone": "cnn"}, None),
    ],
)
def test_a_card_of_another_network_is_noticed(
    small: Classifier, tmp_path: Path, changes: dict[str, object], words: str | None
) -> None:
    path = tmp_path / "model.keras"
    small.model.save(path)
    card = card_of(small, **changes)
    if words is None:
        assert load_classifier(path, card).taps == card.taps
    else:
        with pytest.raises(StoreError, match=words):
            load_classifier(path, card)


def test_a_card_with_other_taps_or_another_head_is_noticed(small: Classifier, tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    small.model.save(path)
    tap = small.taps[0]
    with pytest.raises(StoreError, match="taps"):
        load_classifier(path, card_of(small, taps=(tap.model_copy(update={"shape": (1, 1, 1)}),)))
    with pytest.raises(StoreError, match="no catseye classifier"):
        load_classifier(path, card_of(small, taps=(tap.model_copy(update={"name": "conv_9"}),)))
    with pytest.raises(StoreError, match="embedding"):
        load_classifier(path, card_of(small, head=small.head.model_copy(update={"embedding_size": 1})))


def test_a_model_that_is_no_classifier_of_ours_is_refused(small: Classifier, tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save(path)
    with pytest.raises(StoreError, match="Train or import"):
        load_classifier(path, card_of(small))


def test_a_broken_or_missing_file_is_one_clear_error(small: Classifier, tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    with pytest.raises(StoreError, match=r"model\.keras"):
        load_classifier(path, card_of(small))
    small.model.save(path)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(StoreError, match="cannot be loaded"):
        load_classifier(path, card_of(small))
    path.write_text("no zip at all")
    with pytest.raises(StoreError, match="cannot be loaded"):
        load_classifier(path, card_of(small))


def test_code_in_a_file_is_not_run(small: Classifier, tmp_path: Path) -> None:
    path, mark = tmp_path / "model.keras", tmp_path / "mark"
    written = str(mark)
    image = keras.Input((4,))
    harmful = keras.layers.Lambda(lambda x: (__import__("pathlib").Path(written).touch(), x)[1], output_shape=(4,))
    model = keras.Model(image, harmful(image))
    model.save(path)
    mark.unlink(missing_ok=True)
    with pytest.raises(StoreError, match="cannot be loaded"):
        load_classifier(path, card_of(small))
    assert not mark.exists()
    # The control: the file is as harmful as it looks.
    keras.saving.load_model(path, safe_mode=False)(np.zeros((1, 4)))
    assert mark.exists()
