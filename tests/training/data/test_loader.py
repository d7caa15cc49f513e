from types import SimpleNamespace

import numpy as np
import pytest

from models.errors import BadData
from models.image.decode import content_hash, decode
from tests.support.folders import picture, put
from training.data.loader import batches, load_batch


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


def test_every_sample_comes_once_and_in_order(samples):
    found = list(batches(samples, (8, 8), 4))
    assert [len(batch.images) for batch in found] == [4, 4, 3]
    assert np.concatenate([batch.indices for batch in found]).tolist() == list(range(11))
    np.testing.assert_array_equal(found[2].images, load_batch(samples[8:], (8, 8)))


@pytest.mark.parametrize("prefetch", [0, 1, 9])
def test_a_seed_shuffles_and_repeats(samples, prefetch):
    def order(seed):
        return [i for batch in batches(samples, (8, 8), 2, seed=seed, prefetch=prefetch) for i in batch.indices]

    assert order(3) == order(3) != order(4)
    assert sorted(order(3)) == list(range(11))


def test_no_more_than_the_asked_number_of_batches_is_decoded_ahead(samples, monkeypatch):
    opened = []
    read = type(samples[0].path).read_bytes
    monkeypatch.setattr(type(samples[0].path), "read_bytes", lambda path: opened.append(path.stem) or read(path))
    stream = batches(samples, (8, 8), 2, prefetch=1)
    next(stream)
    assert len(set(opened)) <= 6
    stream.close()


def test_a_file_that_went_away_or_was_changed_is_named(samples):
    samples[5].path.unlink()
    with pytest.raises(BadData, match=r"5\.png can no longer be opened"):
        list(batches(samples, (8, 8), 4))
    for changed in (b"broken", samples[6].path.read_bytes()):
        samples[5].path.write_bytes(changed)
        with pytest.raises(BadData, match=r"5\.png was changed since the data set was read"):
            load_batch(samples, (8, 8))
    samples[5].sha256 = content_hash(b"broken")
    samples[5].path.write_bytes(b"broken")
    with pytest.raises(BadData, match=r"5\.png can no longer be read"):
        load_batch(samples, (8, 8))


def test_no_samples_no_batches():
    assert list(batches([], (8, 8))) == []
