"""How similar pairs are to the targets, as ranks among the corpus's documents."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

NEAREST_REFERENCES = 5


class SimilarityRanks:
    """Similarities as the share of the corpus's documents that are less similar, so that no embedder's scale counts.

    Args:
        similarity (`np.ndarray` of shape `(n, targets)`): Similarities of a sample of documents.
        shares (`np.ndarray` of shape `(n,)`): How many documents each stands for.
    """

    def __init__(self, similarity: np.ndarray, shares: np.ndarray) -> None:
        order = np.argsort(similarity, axis=0)
        self._sorted = np.take_along_axis(similarity, order, axis=0)
        self._ranks = np.cumsum(shares[order], axis=0) / shares.sum()

    def of(self, similarity: np.ndarray) -> np.ndarray:
        """Ranks of similarities, both of shape `(n, targets)`, from 0 to 1."""
        columns = zip(similarity.T, self._sorted.T, self._ranks.T, strict=True)
        return np.stack([np.interp(column, known, ranks) for column, known, ranks in columns], axis=1)


class TargetSimilarity:
    """Similarity of pairs to each target, against that of the corpus's documents.

    Args:
        references (`Sequence[np.ndarray]`): The reference embeddings of each target, shape `(m, d)`.
        samples (`Sequence[np.ndarray]`): Embeddings of a random sample of each cluster, shape `(s_i, d)`.
        sizes (`np.ndarray` of shape `(k,)`): Documents of every cluster.
    """

    def __init__(self, references: Sequence[np.ndarray], samples: Sequence[np.ndarray], sizes: np.ndarray) -> None:
        self._references = [np.asarray(reference, dtype=np.float32) for reference in references]
        # The mean similarity to a reference is the similarity to its mean.
        self._means = np.stack([reference.mean(axis=0) for reference in self._references], axis=1)
        self._samples, lengths = samples, np.array([len(sample) for sample in samples])
        self._shares = np.repeat(np.asarray(sizes) / np.maximum(lengths, 1), lengths)

    def to_mean(self, embeddings: np.ndarray) -> np.ndarray:
        """Rank of the mean similarity to the reference, shape `(n, targets)`."""
        return self._mean_ranks.of(np.asarray(embeddings, dtype=np.float32) @ self._means)

    def to_nearest(self, embeddings: np.ndarray) -> np.ndarray:
        """Rank of the mean similarity to the five nearest of the reference, shape `(n, targets)`."""
        return self._nearest_ranks.of(self._nearest(embeddings))

    @cached_property
    def _mean_ranks(self) -> SimilarityRanks:
        return SimilarityRanks(np.concatenate([sample @ self._means for sample in self._samples]), self._shares)

    @cached_property
    def _nearest_ranks(self) -> SimilarityRanks:
        return SimilarityRanks(np.concatenate([self._nearest(sample) for sample in self._samples]), self._shares)

    def _nearest(self, embeddings: np.ndarray) -> np.ndarray:
        columns = []
        for reference in self._references:
            similarity = np.asarray(embeddings, dtype=np.float32) @ reference.T
            count = min(NEAREST_REFERENCES, len(reference))
            columns.append(np.partition(similarity, -count, axis=1)[:, -count:].mean(axis=1))
        return np.stack(columns, axis=1)
