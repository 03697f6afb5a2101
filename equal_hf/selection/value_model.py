"""The value that a document is expected to have before a call is spent on it: near the target, and rich in pairs.

Nearness comes for free, from the document's embedding. Whether documents of its kind give pairs, and whether those
pairs lie near the target, is learned from every document extracted so far, whichever cluster it came from. The
expected value of a document is the product of the two; that of a cluster is the mean over the documents that would be
drawn from it next. It orders documents inside a cluster, and is what a bandit expects of its arms.

>>> reference = np.array([[1.0, 0.0]])
>>> documents = np.array([[0.9, 0.1], [0.8, -0.6], [0.0, 1.0], [0.1, -1.0]])
>>> model = ValueModel([reference], [documents], np.array([4]))
>>> int(model.expected(documents).argmax())
0
>>> nothing, three_pairs = documents[:0], documents[:3]
>>> model.update(documents[:2], model.pair_values([nothing, three_pairs]))
>>> int(model.expected(documents).argmax())  # the nearest one gave no pair
1
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np

from equal_hf.errors import ConfigError
from equal_hf.selection.ridge_regression import Ridge
from equal_hf.types import Round

# Documents less near than this share of all count as not near at all.
FLOOR = 0.01
# Cosine similarity from which a pair is a near-copy of another.
NEAR_COPY = 0.95
MIN_PAIR_VALUE = 1e-3
# A document that was lost on the way, or that a replay has no record of, says nothing about its kind.
LOST = frozenset({"transport_error", "not_recorded"})


class ValueModel:
    """Expected value of documents, learned across clusters.

    Everything is measured against the corpus itself, so nothing depends on the embedder's scale: nearness is the mean
    similarity to the reference above the least similar documents', in units of its average over all documents; a pair
    counts by how far up the documents' own similarities it lies (1 above all of them, 0 at their median or below).

    Args:
        references (`Sequence[np.ndarray]`): The reference embeddings of each target, shape `(m, d)`.
        samples (`Sequence[np.ndarray]`): Embeddings of each cluster's first documents in stored order, a random
            sample of it, shape `(s_i, d)`.
        sizes (`np.ndarray` of shape `(k,)`): Documents of every cluster.
        weights (`Sequence[float]`, *optional*): Weight of each target; all the same where left out.
        pairs_per_document (`int`, *optional*, defaults to `3`): How many pairs of one document count: further ones
            are on the same matter.
        discount (`float`, *optional*, defaults to `1.0`): Factor on what was learned, at every round, for corpora or
            targets that drift.
    """

    def __init__(
        self,
        references: Sequence[np.ndarray],
        samples: Sequence[np.ndarray],
        sizes: np.ndarray,
        *,
        weights: Sequence[float] | None = None,
        pairs_per_document: int = 3,
        discount: float = 1.0,
    ) -> None:
        given = np.ones(len(references)) if weights is None else np.asarray(weights, dtype=np.float64)
        if len(given) != len(references) or (given < 0).any() or not given.sum() > 0:
            raise ConfigError(f"{len(references)} targets have weights {given.tolist()}: give one each, above 0")
        self.weights = given / given.sum()
        self.pairs_per_document = pairs_per_document
        # The mean similarity to a reference is the similarity to its mean.
        self._directions = np.stack([np.asarray(r, dtype=np.float32).mean(axis=0) for r in references], axis=1)
        self._samples = np.concatenate([np.asarray(sample, dtype=np.float32) for sample in samples])
        lengths = np.array([len(sample) for sample in samples])
        self._starts = np.concatenate([[0], np.cumsum(lengths)])
        self._cluster = np.repeat(np.arange(len(samples)), lengths)
        self._left = np.ones(len(self._samples), dtype=bool)
        self._ridge = Ridge(self._samples.shape[1], len(references), discount)
        # The documents' similarities, each sample standing for its share of the cluster.
        similarity = self._samples @ self._directions
        share = (np.asarray(sizes) / np.maximum(lengths, 1))[self._cluster]
        order = np.argsort(similarity, axis=0)
        self._sorted = np.take_along_axis(similarity, order, axis=0)
        self._ranks = np.cumsum(share[order], axis=0) / share.sum()
        self._floor = np.array([column[np.searchsorted(ranks, FLOOR)] for column, ranks in self._by_target()])
        above = np.clip(similarity - self._floor, 0.0, None)
        self._unit = np.average(above, axis=0, weights=share)
        self._unit[self._unit <= 0] = 1.0
        self._sample_nearness = above / self._unit

    def _by_target(self) -> list[tuple[np.ndarray, np.ndarray]]:
        return list(zip(self._sorted.T, self._ranks.T, strict=True))

    def nearness(self, embeddings: np.ndarray) -> np.ndarray:
        """How near documents lie to each target, shape `(n, targets)`; 1 on average over the corpus."""
        return np.clip(embeddings @ self._directions - self._floor, 0.0, None) / self._unit

    def pair_values(
        self, pairs_by_document: Sequence[np.ndarray], pool_embeddings: np.ndarray | None = None
    ) -> np.ndarray:
        """What the pairs of a round's documents count for each target.

        Args:
            pairs_by_document (`Sequence[np.ndarray]`): Embeddings of each document's pairs, shape `(n_i, d)`.
            pool_embeddings (`np.ndarray` of shape `(p, d)`, *optional*): Pairs there are already, or a sample of them:
                a near-copy of one, or of an earlier one of the round, counts for nothing.

        Returns:
            `np.ndarray` of shape `(documents, targets)`: Each at most `pairs_per_document`; 0 without pairs.
        """
        values = np.zeros((len(pairs_by_document), len(self.weights)))
        ends = np.cumsum([len(pairs) for pairs in pairs_by_document])
        if not len(ends) or not ends[-1]:
            return values
        pairs = np.concatenate([np.asarray(pairs, dtype=np.float32) for pairs in pairs_by_document if len(pairs)])
        fresh = _fresh(pairs, pool_embeddings)
        similarity = pairs @ self._directions
        ranks = [np.interp(similarity[:, t], column, rank) for t, (column, rank) in enumerate(self._by_target())]
        # 0 at the documents' median or below, 1 above all of them.
        quality = np.clip(2.0 * np.stack(ranks, axis=1) - 1.0, 0.0, None)
        for document, (start, end) in enumerate(zip(ends - [len(p) for p in pairs_by_document], ends, strict=True)):
            if counted := int(fresh[start:end].sum()):
                mean = quality[start:end][fresh[start:end]].mean(axis=0)
                values[document] = min(counted, self.pairs_per_document) * mean
        return values

    def round_values(self, round: Round, embeddings: np.ndarray, pool_embeddings: np.ndarray) -> np.ndarray:
        """[`pair_values`] of a round's documents in the order they were drawn; nan for one that was lost on the way.

        Args:
            round ([`Round`]): The round.
            embeddings (`np.ndarray` of shape `(pairs, d)`): Embeddings of its pairs.
            pool_embeddings (`np.ndarray` of shape `(p, d)`): As for [`pair_values`].
        """
        ids = [document for decision in round.decisions for document in decision.documents]
        positions: dict[str, list[int]] = {document: [] for document in ids}
        for position, pair in enumerate(round.pairs):
            positions[pair.document_id].append(position)
        values = self.pair_values([embeddings[positions[document]] for document in ids], pool_embeddings)
        lost = {rejection.document_id for rejection in round.rejected if rejection.reason in LOST}
        values[[document in lost and not positions[document] for document in ids]] = np.nan
        return values

    def expected_by_target(self, embeddings: np.ndarray) -> np.ndarray:
        """Expected value of documents for each target, shape `(n, targets)`."""
        return self.nearness(embeddings) * self._expected_pair_values(embeddings)

    def _expected_pair_values(self, embeddings: np.ndarray) -> np.ndarray:
        return np.maximum(self._ridge.predict(embeddings), MIN_PAIR_VALUE)

    def expected(self, embeddings: np.ndarray) -> np.ndarray:
        """Expected value of documents, by the weights of the targets, shape `(n,)`."""
        return self.expected_by_target(embeddings) @ self.weights

    def update(self, embeddings: np.ndarray, values: np.ndarray) -> None:
        """Learn from a round's documents.

        Args:
            embeddings (`np.ndarray` of shape `(n, d)`): The documents.
            values (`np.ndarray` of shape `(n, targets)`): What their pairs count, by [`pair_values`]. Divided by what
                each document cost, they teach what pays per unit of cost.
        """
        if len(embeddings):
            self._ridge.update(embeddings, values)

    def frozen(self) -> ValueModel:
        """A copy that learns nothing further; the samples are shared, not copied."""
        then = copy.copy(self)
        then._ridge, then._left = copy.copy(self._ridge), self._left.copy()  # a ridge replaces its sums, never adds in
        return then

    def draw(self, cluster: int, rows: Sequence[int]) -> None:
        """Mark documents of a cluster, by their positions in stored order, as drawn: they cannot be drawn again."""
        start, end = self._starts[cluster], self._starts[cluster + 1]
        drawn = start + np.asarray(rows, dtype=np.int64)
        self._left[drawn[drawn < end]] = False

    def expected_by_arm(self, remaining: np.ndarray, documents: int) -> np.ndarray:
        """Expected value of the next documents of every cluster, on average, shape `(k, targets)`.

        Judged by the sample: if `documents` of what remains is a third of it, by the best third of the sample that
        remains. So it reads no file, however large the corpus.

        Args:
            remaining (`np.ndarray` of shape `(k,)`): Documents that every cluster has left.
            documents (`int`): How many would be drawn.
        """
        values = self._sample_nearness * self._expected_pair_values(self._samples)
        mixed = values @ self.weights
        left = np.flatnonzero(self._left)
        left = left[np.lexsort((-mixed[left], self._cluster[left]))]
        cluster = self._cluster[left]
        counts = np.bincount(cluster, minlength=len(remaining))
        rank = np.arange(len(left)) - (np.cumsum(counts) - counts)[cluster]
        share = np.minimum(documents / np.maximum(remaining, 1), 1.0)
        best = left[rank < np.maximum(np.ceil(counts * share), 1)[cluster]]
        # A cluster whose whole sample is drawn, the best first, is expected to give what the least of it would.
        expected = np.minimum.reduceat(values, self._starts[:-1], axis=0)
        taken = np.bincount(self._cluster[best], minlength=len(remaining))
        for target, column in enumerate(values.T):
            sums = np.bincount(self._cluster[best], column[best], minlength=len(remaining))
            expected[:, target] = np.where(taken > 0, sums / np.maximum(taken, 1), expected[:, target])
        return expected


def _fresh(pairs: np.ndarray, pool: np.ndarray | None) -> np.ndarray:
    """Which pairs are no near-copies of one in the pool or of a fresh one before them."""
    fresh = np.ones(len(pairs), dtype=bool)
    if pool is not None and len(pool):
        fresh &= (pairs @ pool.T).max(axis=1) < NEAR_COPY
    seen = np.empty_like(pairs)
    count = 0
    for i in np.flatnonzero(fresh):
        if count and (seen[:count] @ pairs[i]).max() >= NEAR_COPY:
            fresh[i] = False
        else:
            seen[count] = pairs[i]
            count += 1
    return fresh
