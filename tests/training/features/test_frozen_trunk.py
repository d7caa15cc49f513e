import numpy as np
import pytest

from models.network.classifier import HeadSpec, build_classifier
from models.network.freezing import apply_freeze
from training.features.frozen_trunk import cut_at_embedding, cut_at_pixels, cut_where_training_begins


@pytest.fixture(scope="module")
def classifier():
    return build_classifier("mobilenet_v2", 3, input_size=64, head=HeadSpec(depths="several"))


@pytest.mark.parametrize("freeze", ["head", "most", "few"])
def test_below_and_above_the_cut_make_the_whole(classifier, freeze):
    apply_freeze(classifier, freeze)
    cut = cut_where_training_begins(classifier)
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    rows = np.asarray(cut.lower()(images))
    assert rows.shape == (2, cut.width)
    np.testing.assert_allclose(
        np.asarray(cut.upper()(cut.unpack(rows))),
        np.asarray(classifier.feature_model()(images)),
        atol=1e-4,
    )


def test_the_cut_is_where_the_frozen_layers_end(classifier):
    apply_freeze(classifier, "most")
    most = cut_where_training_begins(classifier)
    learning = {layer.name for layer in most.upper().layers if layer.trainable_weights}
    assert learning == {layer.name for layer in classifier.backbone_layers() if layer.trainable_weights}
    apply_freeze(classifier, "few")
    assert cut_where_training_begins(classifier).shapes[0] == (8, 8, 32)
    apply_freeze(classifier, "head")
    assert cut_where_training_begins(classifier).shapes == cut_at_embedding(classifier).shapes
    apply_freeze(classifier, "none")
    assert cut_where_training_begins(classifier).at_pixels
    assert cut_at_pixels(classifier).shapes == ((64, 64, 3),)


def test_the_key_follows_weights_and_place(classifier):
    apply_freeze(classifier, "most")
    most, embedding = cut_where_training_begins(classifier), cut_at_embedding(classifier)
    before = most.key()
    assert before == most.key() != embedding.key()
    layer = classifier.model.get_layer("Conv1")
    kept = layer.get_weights()
    layer.set_weights([kept[0] + 1e-3])
    assert most.key() != before
    layer.set_weights(kept)
    assert most.key() == before
