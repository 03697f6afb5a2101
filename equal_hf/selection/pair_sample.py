"""Pairs of earlier rounds, a bounded sample: what near-copies and marginal gains are judged against."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from equal_hf.types import QAPair, Round
from equal_hf.utils.hashing import digest

MAX_POOL_PAIRS = 2_000
MAX_EARLIER_PAIRS = 300  # of one arm


class HashPool:
    """The pairs with the smallest hashes, so that the sample does not depend on the order in which pairs came.

    Args:
        size (`int`, *optional*, defaults to `2000`): Pairs at most.

    Attributes:
        embeddings (`np.ndarray` of shape `(n, d)`): Of the sampled pairs, in the order they came.

    >>> pool = HashPool(size=3)
    >>> pool.add([QAPair(f"q{i}", "a", "d") for i in range(9)], np.eye(9, dtype=np.float32))
    >>> pool.embeddings.shape
    (3, 9)
    """

    def __init__(self, size: int = MAX_POOL_PAIRS) -> None:
        self.size = size
        self.embeddings = np.zeros((0, 0), dtype=np.float32)
        self._hashes = np.zeros(0, dtype=np.uint64)

    def add(self, pairs: Sequence[QAPair], embeddings: np.ndarray) -> None:
        """Add pairs with their embeddings, shape `(pairs, d)`; beyond `size` the largest hashes are dropped."""
        if not len(pairs):
            return
        hashes = np.concatenate([self._hashes, np.array([_hash(pair) for pair in pairs], dtype=np.uint64)])
        both = [self.embeddings, embeddings] if len(self.embeddings) else [embeddings]
        smallest = np.sort(np.argsort(hashes, kind="stable")[: self.size])
        self._hashes, self.embeddings = hashes[smallest], np.concatenate(both)[smallest]


class PairHistory:
    """Embeddings of earlier pairs: a sample of all, and the latest of every arm."""

    def __init__(self) -> None:
        self._pool = HashPool()
        self._by_arm: dict[int, np.ndarray] = {}

    def context(self, round: Round, embeddings: np.ndarray) -> dict[str, Any]:
        """A round's pairs and those before them, by the names that reward functions use."""
        nothing = np.zeros((0, embeddings.shape[1]), dtype=np.float32)
        return {
            "pair_embeddings": embeddings,
            "pool_embeddings": self._pool.embeddings,
            "earlier_embeddings": [self._by_arm.get(decision.arm, nothing) for decision in round.decisions],
        }

    def add(self, round: Round, embeddings: np.ndarray) -> None:
        """Add a round's pairs with their embeddings, shape `(pairs, d)`."""
        for decision, positions in zip(round.decisions, round.pairs_by_arm(), strict=True):
            own = [*([self._by_arm[decision.arm]] if decision.arm in self._by_arm else []), embeddings[positions]]
            self._by_arm[decision.arm] = np.concatenate(own)[-MAX_EARLIER_PAIRS:]
        self._pool.add(round.pairs, embeddings)


def _hash(pair: QAPair) -> int:
    return int.from_bytes(digest(pair.text(), 8), "big")
