"""The value for money that a document is expected to have before a call is spent on it.

Nearness comes for free, from the document's embedding. What documents of its kind give for what they cost, how many
pairs and how much they are worth, is learned from every document extracted so far, whichever cluster it came from; it
is learned as one ratio, so nothing is divided by a guess. The expected value of a document is that times the root of
its nearness; that of a cluster is the mean over the documents that would be drawn from it next. It orders documents,
and is what a bandit expects of its arms.

A document is seen as a vector: its embedding, and after it, where the corpus has them, a sketch of its terms and its
length.

>>> reference = np.array([[1.0, 0.0]])
>>> documents = np.array([[0.9, 0.1], [0.8, -0.6], [0.0, 1.0], [0.1, -1.0]])
>>> model = ValueModel([reference], [documents], np.array([4]))
>>> int(model.expected(documents).argmax())
0
>>> model.update(documents[:2], np.array([[0.0], [1.5]]))
>>> int(model.expected(documents).argmax())  # the nearest one gave no pair
1
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np

from equal_hf.errors import ConfigError
from equal_hf.selection.ridge_regression import Ridge

# Documents less near than this share of all count as not near at all.
FLOOR = 0.01
# However far from the target a document lies, what it is expected to give counts a little.
MIN_NEARNESS = 0.05
MIN_PAIR_VALUE = 1e-3


class ValueModel:
    """Expected value of documents, learned across clusters.

    Everything is measured against the corpus itself, so nothing depends on the embedder's scale: nearness is the mean
    similarity to the reference above the least similar documents', in units of its average over all documents. What
    the pairs of a document count is for [`PairValues`] to say.

    Args:
        references (`Sequence[np.ndarray]`): The reference embeddings of each target, shape `(m, d)`.
        samples (`Sequence[np.ndarray]`): Vectors of each cluster's first documents in stored order, a random sample of
            it, shape `(s_i, f)`; the first d columns are the embedding.
        sizes (`np.ndarray` of shape `(k,)`): Documents of every cluster.
        weights (`Sequence[float]`, *optional*): Weight of each target; all the same where left out.
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
        discount: float = 1.0,
    ) -> None:
        given = np.ones(len(references)) if weights is None else np.asarray(weights, dtype=np.float64)
        if len(given) != len(references) or (given < 0).any() or not given.sum() > 0:
            raise ConfigError(f"{len(references)} targets have weights {given.tolist()}: give one each, above 0")
        self.weights = given / given.sum()
        # The mean similarity to a reference is the similarity to its mean.
        self._directions = np.stack([np.asarray(r, dtype=np.float32).mean(axis=0) for r in references], axis=1)
        self._dimension = len(self._directions)
        self._samples = np.concatenate([np.asarray(sample, dtype=np.float32) for sample in samples])
        lengths = np.array([len(sample) for sample in samples])
        self._starts = np.concatenate([[0], np.cumsum(lengths)])
        self._cluster = np.repeat(np.arange(len(samples)), lengths)
        self._left = np.ones(len(self._samples), dtype=bool)
        self._ridge = Ridge(self._samples.shape[1], len(references), discount)
        # The documents' similarities, each sample standing for its share of the cluster.
        similarity = self._samples[:, : self._dimension] @ self._directions
        share = (np.asarray(sizes) / np.maximum(lengths, 1))[self._cluster]
        order = np.argsort(similarity, axis=0)
        self._sorted = np.take_along_axis(similarity, order, axis=0)
        self._ranks = np.cumsum(share[order], axis=0) / share.sum()
        self._floor = np.array([column[np.searchsorted(ranks, FLOOR)] for column, ranks in self._by_target()])
        above = np.clip(similarity - self._floor, 0.0, None)
        self._unit = np.average(above, axis=0, weights=share)
        self._unit[self._unit <= 0] = 1.0
        root = _root(above / self._unit)
        self._average = np.average(root, axis=0, weights=share)
        self._sample_nearness = root / self._average

    def _by_target(self) -> list[tuple[np.ndarray, np.ndarray]]:
        return list(zip(self._sorted.T, self._ranks.T, strict=True))

    def nearness(self, vectors: np.ndarray) -> np.ndarray:
        """How near documents lie to each target, shape `(n, targets)`; 1 on average over the corpus.

        The root of the similarity above the least similar documents', since nearness is a weak guide.
        """
        similarity = vectors[:, : self._dimension] @ self._directions
        return _root(np.clip(similarity - self._floor, 0.0, None) / self._unit) / self._average

    def expected_by_target(self, vectors: np.ndarray) -> np.ndarray:
        """Expected value of documents for each target, for what a document costs on average, shape `(n, targets)`."""
        return self.nearness(vectors) * self._expected_pair_values(vectors)

    def _expected_pair_values(self, vectors: np.ndarray) -> np.ndarray:
        return np.maximum(self._ridge.predict(vectors) * self.mean_cost, MIN_PAIR_VALUE)

    def expected(self, vectors: np.ndarray) -> np.ndarray:
        """Expected value of documents, by the weights of the targets, shape `(n,)`."""
        return self.expected_by_target(vectors) @ self.weights

    def interval(self, vectors: np.ndarray, costs: float, z: float = 1.2816) -> tuple[float, float]:
        """What some documents are expected to give together, by the weights of the targets, with what it may be off.

        Args:
            vectors (`np.ndarray` of shape `(n, f)`): The documents.
            costs (`float`): What they cost together.
            z (`float`, *optional*, defaults to `1.2816`): Standard deviations to either side; 80 % by default.
        """
        mean = vectors.mean(axis=0, keepdims=True)
        told, spread = self._ridge.predict(mean)[0] @ self.weights, self._ridge.spread(mean, costs)[0]
        off = z * float(np.sqrt((self.weights**2) @ spread**2))
        return float(told - off) * costs, float(told + off) * costs

    @property
    def mean_cost(self) -> float:
        """What a document extracted so far cost on average; 1 before the first."""
        return self._ridge.mean_cost

    def update(self, vectors: np.ndarray, values: np.ndarray, costs: np.ndarray | None = None) -> None:
        """Learn from a round's documents.

        Args:
            vectors (`np.ndarray` of shape `(n, f)`): The documents.
            values (`np.ndarray` of shape `(n, targets)`): What their pairs are worth, by [`PairValues`].
            costs (`np.ndarray` of shape `(n,)`, *optional*): What each cost, in any unit; the same where left out.
        """
        if len(vectors):
            self._ridge.update(vectors, values, costs)

    def relearn(self, values: np.ndarray) -> None:
        """Say anew what all documents learned from are worth, shape `(n, targets)`, in the order they came."""
        self._ridge.relearn(values)

    def frozen(self) -> ValueModel:
        """A copy that learns nothing further; the samples are shared, not copied."""
        then = copy.copy(self)
        then._ridge, then._left = self._ridge.copy(), self._left.copy()
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


def _root(nearness: np.ndarray) -> np.ndarray:
    return np.sqrt(np.maximum(nearness, MIN_NEARNESS))
