"""A sample of all pairs found so far, of bounded size: what near-copies and marginal gains are judged against."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from equal_hf.types import QAPair
from equal_hf.utils.hashing import digest

POOL_PAIRS = 2_000
EARLIER_PAIRS = 300


class HashPool:
    """The pairs whose hashes are smallest, so that the sample depends on what was found and not on when.

    Args:
        size (`int`, *optional*, defaults to `2000`): Pairs kept at most.

    Attributes:
        embeddings (`np.ndarray` of shape `(n, d)`): Of the pairs kept, in the order they came.

    >>> pool = HashPool(size=3)
    >>> pool.add([QAPair(f"q{i}", "a", "d") for i in range(9)], np.eye(9, dtype=np.float32))
    >>> pool.embeddings.shape
    (3, 9)
    """

    def __init__(self, size: int = POOL_PAIRS) -> None:
        self.size = size
        self.embeddings = np.zeros((0, 0), dtype=np.float32)
        self._hashes = np.zeros(0, dtype=np.uint64)

    def add(self, pairs: Sequence[QAPair], embeddings: np.ndarray) -> None:
        """Take in pairs with their embeddings, shape `(pairs, d)`; what does not fit is let go."""
        if not len(pairs):
            return
        hashes = np.concatenate([self._hashes, np.array([_hash(pair) for pair in pairs], dtype=np.uint64)])
        both = [self.embeddings, embeddings] if len(self.embeddings) else [embeddings]
        kept = np.sort(np.argsort(hashes, kind="stable")[: self.size])
        self._hashes, self.embeddings = hashes[kept], np.concatenate(both)[kept]


def _hash(pair: QAPair) -> int:
    return int.from_bytes(digest(pair.text(), 8), "big")
