import numpy as np

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


def test_shares_of_a_batch_are_equally_large_and_hold_it_once():
    feed = batches(seed=3)
    for i in range(len(feed)):
        inputs, _, weights = feed[i]
        shares = [feed.share(i, which, 2) for which in range(2)]
        assert len({len(share[0]) for share in shares}) == 1
        real = np.concatenate([share[0][share[2] > 0] for share in shares])
        np.testing.assert_array_equal(real, inputs)
        assert sum(share[2].sum() for share in shares) == weights.sum()
        assert feed.size(i) == len(inputs)
