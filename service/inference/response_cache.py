"""Answers to images that were seen before, by the hash of their bytes: at most so many megabytes, oldest out."""

import hashlib
import threading
from collections import OrderedDict

from models.arrays import Floats
from service.metrics import CACHE_BYTES, CACHE_LOOKUPS

Key = tuple[bytes, str]
_OVERHEAD = 512
"""Bytes of keys and objects around an answer's numbers, about."""


class ResponseCache:
    """Logits by (hash of the file, tag of the model); ``megabytes`` 0 keeps nothing."""

    def __init__(self, megabytes: float) -> None:
        self._most = int(megabytes * 1e6)
        self._kept: OrderedDict[Key, Floats] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    @property
    def on(self) -> bool:
        """Whether anything is kept at all."""
        return self._most > 0

    def key(self, data: bytes, tag: str) -> Key:
        """What an image and a model are kept under."""
        return hashlib.sha256(data).digest(), tag

    def get(self, key: Key) -> Floats | None:
        """The logits, if they are kept."""
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
        CACHE_LOOKUPS.labels("miss" if found is None else "hit").inc()
        return found

    def put(self, key: Key, logits: Floats) -> None:
        """Keep logits, and let the longest unused ones go."""
        with self._lock:
            if key in self._kept:
                return
            self._kept[key] = logits
            self._bytes += logits.nbytes + _OVERHEAD
            while self._bytes > self._most:
                _, oldest = self._kept.popitem(last=False)
                self._bytes -= oldest.nbytes + _OVERHEAD
            CACHE_BYTES.set(self._bytes)
