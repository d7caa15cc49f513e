import numpy as np
import pytest

from training.features.keras_dataset import Batches


class Numbers:
    """A source whose input is position + 100 * view."""

    views = 2

    def __len__(self):
        return 5

    def take(self, positions, views, rng):
        return ((positions + 100 * views).astype(np.float32)[:, None],)


def batches(**options):
    return Batches(Numbers(), np.eye(5, dtype=np.float32), np.ones(5, np.float32), batch_size=2, **options)


def shown(feed):
    return np.concatenate([feed[i][0][:, 0] for i in range(len(feed))]).astype(int).tolist()


def test_without_a_seed_every_image_once_in_order():
    assert shown(batches()) == [0, 1, 2, 3, 4]


def test_every_view_of_every_image():
    assert sorted(shown(batches(seed=0, every_view=True))) == [0, 1, 2, 3, 4, 100, 101, 102, 103, 104]


def test_an_epoch_is_drawn_from_seed_and_number_alone():
    first, second = batches(seed=1), batches(seed=1)
    second.epoch = 0
    assert shown(first) == shown(second)
    assert sorted(n % 100 for n in shown(first)) == [0, 1, 2, 3, 4]
    before = shown(first)
    first.on_epoch_end()
    second.epoch = 1
    assert shown(first) == shown(second) != before


def test_targets_stay_with_their_images():
    feed = batches(seed=3)
    for i in range(len(feed)):
        inputs, targets, _ = feed[i]
        np.testing.assert_array_equal(targets.argmax(1), inputs[:, 0] % 100)


def test_parts_of_a_batch_are_equally_large_and_hold_it_once():
    whole, feed = batches(seed=3), batches(seed=3)
    feed.replicas = 2
    for i in range(len(feed)):
        inputs, _, weights = whole[i]
        parts = [feed.part(i, replica) for replica in range(2)]
        assert len({len(part[0]) for part in parts}) == 1
        real = np.concatenate([part[0][part[2] > 0] for part in parts])
        np.testing.assert_array_equal(real, inputs)
        assert sum(part[2].sum() for part in parts) == weights.sum()
        assert feed.size(i) == len(inputs)


@pytest.mark.parametrize("seed", [None, 3])
def test_for_several_replicas_batches_are_filled_up_and_means_stay_the_same(seed):
    whole, feed = batches(seed=seed), batches(seed=seed)
    feed.replicas = 3
    sums, lengths = [], []
    for i in range(len(feed)):
        inputs, _, weights = feed[i]
        assert len(inputs) == len(weights) == 3
        np.testing.assert_array_equal(inputs[weights > 0], whole[i][0])
        if seed is not None:
            assert weights.mean() == pytest.approx(whole[i][2].mean())
        sums.append(weights.sum())
        lengths.append(len(weights))
    if seed is None:
        assert sum(sums) / sum(lengths) == pytest.approx(1)


@pytest.mark.parametrize("images", [100, 1000])
def test_an_epoch_is_shuffled_once_however_many_batches_it_has(monkeypatch, images):
    """A permutation for every batch made an epoch of a million images take 20 minutes."""
    shuffled = []

    class Counted(np.random.Generator):
        def permutation(self, count):
            shuffled.append(count)
            return super().permutation(count)

    monkeypatch.setattr(np.random, "default_rng", lambda seed: Counted(np.random.PCG64(seed)))
    source = Numbers()
    monkeypatch.setattr(Numbers, "__len__", lambda self: images)
    targets, weights = np.zeros((images, 2), np.float32), np.ones(images, np.float32)
    feed = Batches(source, targets, weights, batch_size=2, seed=0)
    for _ in range(2):
        for i in range(len(feed)):
            feed[i]
        feed.on_epoch_end()
    assert shuffled == [images, images]
