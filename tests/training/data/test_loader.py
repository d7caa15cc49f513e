from types import SimpleNamespace

import numpy as np
import pytest

from models.errors import BadData
from models.image.decode import content_hash, decode
from tests.support.folders import picture, put
from training.data.loader import load_batch


@pytest.fixture
def samples(tmp_path):
    paths = [put(tmp_path / f"{i}.png", picture(i)) for i in range(11)]
    return [SimpleNamespace(path=path, sha256=content_hash(path.read_bytes())) for path in paths]


def test_pixels_are_those_that_serving_decodes(samples):
    images = load_batch(samples[:3], (8, 12))
    assert images.shape == (3, 8, 12, 3)
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images[2], decode(samples[2].path.read_bytes(), (8, 12)))
    assert load_batch([], (8, 12)).shape == (0, 8, 12, 3)


def test_a_file_that_went_away_or_was_changed_is_named(samples):
    samples[5].path.unlink()
    with pytest.raises(BadData, match=r"5\.png can no longer be opened"):
        load_batch(samples, (8, 8))
    for changed in (b"broken", samples[6].path.read_bytes()):
        samples[5].path.write_bytes(changed)
        with pytest.raises(BadData, match=r"5\.png was changed since the data set was read"):
            load_batch(samples, (8, 8))
    samples[5].sha256 = content_hash(b"broken")
    samples[5].path.write_bytes(b"broken")
    with pytest.raises(BadData, match=r"5\.png can no longer be read"):
        load_batch(samples, (8, 8))
