import numpy as np

from training.examples.shifts import DIRECTIONS, SHARES, right_when_shifted, shifted


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

    found = [right_when_shifted(f, lambda a, b: dots[a:b], truth, batch=4) for f in (one_place, everywhere)]
    assert found[0].shape == (len(SHARES), 6)
    assert found[0].mean(1).tolist() == [1.0] + [0.5] * 5
    assert found[1].all()
