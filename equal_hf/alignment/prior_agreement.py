"""Does a cluster's document-embedding prior tell what its pairs will be worth? Measured where both are known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from equal_hf.corpus.kmeans import nearest_centroids, train_centroids
from equal_hf.selection.optimal_transport import transport_cost

if TYPE_CHECKING:
    from equal_hf.corpus.embedder import Embedder
    from equal_hf.types import Document

DOCUMENTS_PER_CLUSTER = 12
LEAST_PAIRS = 3
LEAST_CLUSTERS = 5


def prior_agreement(
    embedder: Embedder, documents: Sequence[Document], pairs: dict[str, list[str]], reference: Sequence[str], seed: int
) -> float | None:
    """Spearman's rank correlation, over clusters, of the transport reward of documents with that of their pairs.

    Args:
        embedder ([`Embedder`]): Embeds documents, pairs and reference.
        documents (`Sequence[Document]`): Documents whose pairs are known.
        pairs (`dict[str, list[str]]`): Rendered pairs by document id.
        reference (`Sequence[str]`): Rendered items of the target task.
        seed (`int`): Of the clusters, about one for each 12 documents.

    Returns:
        `float` or `None`: Between -1 and 1; `None` where fewer than 5 clusters have 3 pairs.
    """
    vectors = embedder.encode([document.text for document in documents])
    target = embedder.encode(list(reference))
    clusters = len(documents) // DOCUMENTS_PER_CLUSTER
    if clusters < LEAST_CLUSTERS:
        return None
    centroids = train_centroids(vectors, clusters, seed=seed, threads=1, gpu=False)
    labels, _ = nearest_centroids(vectors, centroids.vectors, threads=1, gpu=False)
    priors, truths = [], []
    for cluster in range(len(centroids.vectors)):
        members = np.flatnonzero(labels == cluster)
        texts = [text for member in members.tolist() for text in pairs.get(documents[member].id, [])]
        if len(texts) >= LEAST_PAIRS:
            priors.append(-transport_cost(vectors[members], target))
            truths.append(-transport_cost(embedder.encode(texts), target))
    return round(spearman(priors, truths), 6) if len(priors) >= LEAST_CLUSTERS else None


def spearman(one: Sequence[float], other: Sequence[float]) -> float:
    """Rank correlation; values are taken to be distinct.

    >>> spearman([1.0, 2.0, 3.0], [10.0, 30.0, 20.0])
    0.5
    """
    ranks = [np.argsort(np.argsort(values)) for values in (one, other)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])
