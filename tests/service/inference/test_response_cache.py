import numpy as np

from service.inference.response_cache import ResponseCache


def logits(value):
    return np.full(100, value, np.float32)


def test_an_answer_is_found_by_content_and_model():
    cache = ResponseCache(1)
    assert cache.on
    key = cache.key(b"cat", "pets:1")
    assert cache.get(key) is None
    cache.put(key, logits(1))
    assert cache.get(cache.key(b"cat", "pets:1"))[0] == 1
    assert cache.get(cache.key(b"cat", "pets:2")) is None
    assert cache.get(cache.key(b"dog", "pets:1")) is None


def test_the_longest_unused_goes_first_and_the_size_is_held():
    cache = ResponseCache(0.004)
    keys = [cache.key(bytes([number]), "m") for number in range(5)]
    for number, key in enumerate(keys[:4]):
        cache.put(key, logits(number))
    cache.get(keys[0])
    cache.put(keys[4], logits(4))
    kept = [key for key in keys if cache.get(key) is not None]
    assert kept == [keys[0], keys[2], keys[3], keys[4]]


def test_zero_keeps_nothing():
    assert not ResponseCache(0).on
