import numpy as np
import pytest

from models.network.classifier import HeadSpec, build_classifier
from models.network.freezing import apply_freeze
from training.features.frozen_trunk import base_trunk, empty_trunk, frozen_trunk


@pytest.fixture(scope="module")
def classifier():
    return build_classifier("mobilenet_v2", 3, input_size=64, head=HeadSpec(depths="several"))


@pytest.mark.parametrize("freeze", ["head", "most", "few"])
def test_frozen_and_trained_layers_make_the_whole_network(classifier, freeze):
    apply_freeze(classifier, freeze)
    trunk = frozen_trunk(classifier)
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    rows = np.asarray(trunk.frozen_model()(images))
    assert rows.shape == (2, trunk.width)
    np.testing.assert_allclose(
        np.asarray(trunk.trained_model()(trunk.unpack(rows))),
        np.asarray(classifier.output_model()(images)["embedding"]),
        atol=1e-4,
    )


def test_the_trunk_ends_where_the_frozen_layers_end(classifier):
    apply_freeze(classifier, "most")
    most = frozen_trunk(classifier)
    trained = {layer.name for layer in most.trained_model().layers if layer.trainable_weights}
    assert trained == {layer.name for layer in classifier.backbone_layers() if layer.trainable_weights}
    apply_freeze(classifier, "few")
    assert frozen_trunk(classifier).shapes[0] == (8, 8, 32)
    apply_freeze(classifier, "head")
    assert frozen_trunk(classifier).shapes == base_trunk(classifier).shapes
    apply_freeze(classifier, "none")
    assert frozen_trunk(classifier).is_empty
    assert empty_trunk(classifier).shapes == ((64, 64, 3),)


def test_the_key_depends_on_weights_and_depth(classifier):
    apply_freeze(classifier, "most")
    most, embedding = frozen_trunk(classifier), base_trunk(classifier)
    before = most.key()
    assert before == most.key() != embedding.key()
    layer = classifier.model.get_layer("Conv1")
    kept = layer.get_weights()
    layer.set_weights([kept[0] + 1e-3])
    assert most.key() != before
    layer.set_weights(kept)
    assert most.key() == before
