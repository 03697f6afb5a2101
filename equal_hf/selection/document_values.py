"""What documents are worth by their pairs: near-copies count for nothing, and only so many of one document."""

from __future__ import annotations

import numpy as np

from equal_hf.types import Round

# Cosine similarity from which a pair is a near-copy of another.
NEAR_COPY = 0.95
# A document that was lost on the way, or that a replay has no record of, says nothing about its kind.
LOST = frozenset({"transport_error", "not_recorded"})


def document_values(round: Round, values: np.ndarray, fresh: np.ndarray, pairs_per_document: int) -> np.ndarray:
    """Values of a round's documents from those of their pairs: the mean, for as many pairs as count.

    Args:
        round ([`Round`]): The round.
        values (`np.ndarray` of shape `(pairs, …)`): Values of its pairs.
        fresh (`np.ndarray` of shape `(pairs,)`): Which pairs count, by [`fresh_pairs`].
        pairs_per_document (`int`): How many pairs of one document count at most.

    Returns:
        `np.ndarray` of shape `(documents, …)`: In the order they were drawn; each at most `pairs_per_document`, 0
        without pairs, nan for a document that was lost on the way.
    """
    ids = [document for decision in round.decisions for document in decision.documents]
    positions: dict[str, list[int]] = {document: [] for document in ids}
    for position, pair in enumerate(round.pairs):
        positions[pair.document_id].append(position)
    lost = {rejection.document_id for rejection in round.rejected if rejection.reason in LOST}
    result = np.zeros((len(ids), *values.shape[1:]))
    for row, document in enumerate(ids):
        if not positions[document] and document in lost:
            result[row] = np.nan
        elif counted := [position for position in positions[document] if fresh[position]]:
            result[row] = min(len(counted), pairs_per_document) * values[counted].mean(axis=0)
    return result


def fresh_pairs(pairs: np.ndarray, pool: np.ndarray | None = None) -> np.ndarray:
    """Which pairs are no near-copies of one in the pool or of a fresh one before them.

    Args:
        pairs (`np.ndarray` of shape `(pairs, d)`): Embeddings.
        pool (`np.ndarray` of shape `(p, d)`, *optional*): Embeddings of pairs there are already.

    Returns:
        `np.ndarray` of shape `(pairs,)`: Of `bool`.
    """
    fresh = np.ones(len(pairs), dtype=bool)
    if pool is not None and len(pool):
        fresh &= (pairs @ pool.T).max(axis=1) < NEAR_COPY if len(pairs) else True
    seen = np.empty_like(pairs)
    count = 0
    for i in np.flatnonzero(fresh):
        if count and (seen[:count] @ pairs[i]).max() >= NEAR_COPY:
            fresh[i] = False
        else:
            seen[count] = pairs[i]
            count += 1
    return fresh
