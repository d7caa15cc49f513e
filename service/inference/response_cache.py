"""A cache of answers by the hash of the image's bytes: least recently used out, bounded in megabytes."""

import hashlib
import threading
from contextlib import suppress

from cachetools import LRUCache

from models.arrays import Floats
from service.metrics import CACHE_BYTES, CACHE_LOOKUPS

Key = tuple[bytes, str]
_OVERHEAD = 512
"""Approximate bytes of keys and objects around an answer's numbers."""


class ResponseCache:
    """Logits by (hash of the file, tag of the model); ``megabytes`` 0 keeps nothing. Safe for threads."""

    def __init__(self, megabytes: float) -> None:
        self._kept: LRUCache[Key, Floats] = LRUCache(megabytes * 1e6, lambda logits: logits.nbytes + _OVERHEAD)
        self._lock = threading.Lock()

    @property
    def on(self) -> bool:
        """Whether anything is kept at all."""
        return self._kept.maxsize > 0

    def key(self, data: bytes, tag: str) -> Key:
        """What the answer of a model to an image is kept under."""
        return hashlib.sha256(data).digest(), tag

    def get(self, key: Key) -> Floats | None:
        """The logits, if they are kept."""
        with self._lock:
            found = self._kept.get(key)
        CACHE_LOOKUPS.labels("miss" if found is None else "hit").inc()
        return found

    def put(self, key: Key, logits: Floats) -> None:
        """Keep logits, and drop the least recently used ones where the cache is full."""
        with self._lock, suppress(ValueError):  # larger than the whole cache
            self._kept[key] = logits
            CACHE_BYTES.set(self._kept.currsize)
