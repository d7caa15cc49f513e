import numpy as np
import pytest

from service.routes.embed import normalized


def test_a_normalized_vector_has_length_one_and_keeps_its_direction():
    vector = np.array([3, 4], np.float32)
    assert normalized(vector).tolist() == pytest.approx([0.6, 0.8])
    assert normalized(vector).dtype == np.float32


def test_large_vectors_do_not_overflow():
    assert np.linalg.norm(normalized(np.full(4, 1e30, np.float32))) == pytest.approx(1)


def test_a_vector_of_zeros_stays():
    assert normalized(np.zeros(3, np.float32)).tolist() == [0, 0, 0]
