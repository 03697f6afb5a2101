"""Exact optimal transport between two sets of embeddings.

The paper solves it by IPOT in Python; an exact solver is faster at these sizes and needs no tuning, so POT's network
simplex (`ot.emd2`) is used.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Distance between unit vectors that have nothing in common (cosine 0): what no pairs at all count as.
UNRELATED_COST = float(np.sqrt(2.0))


def transport_cost(source: np.ndarray, target: np.ndarray) -> float:
    """Optimal-transport cost between two point sets, uniform weights, Euclidean ground cost.

    Args:
        source (`np.ndarray` of shape `(n, d)`): For example the embeddings of an arm's pairs.
        target (`np.ndarray` of shape `(m, d)`): For example the embeddings of the reference set.

    Returns:
        `float`: The exact cost, in units of embedding distance; for unit vectors between 0 and 2.

    Raises:
        `ValueError`: If either set is empty; there is no mass to move.

    >>> transport_cost(np.array([[0.0, 0.0], [1.0, 0.0]]), np.array([[0.0, 0.0], [1.0, 1.0]]))
    0.5
    """
    if not len(source) or not len(target):
        raise ValueError(f"transport needs points on both sides, got {len(source)} and {len(target)}")
    import ot

    cost = ot.dist(source.astype(np.float64), target.astype(np.float64), metric="euclidean")
    return float(ot.emd2(ot.unif(len(source)), ot.unif(len(target)), cost, numItermax=1_000_000))


def transport_costs(groups: Sequence[np.ndarray], target: np.ndarray) -> list[float | None]:
    """Transport cost of each group of points to one target, `None` for a group without points."""
    return [transport_cost(group, target) if len(group) else None for group in groups]
