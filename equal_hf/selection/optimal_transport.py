"""Optimal transport between two sets of embeddings: exact, without its bias against small sets, and at the margin.

The paper solves it by IPOT in Python; an exact solver is faster at these sizes and needs no tuning, so POT's network
simplex (`ot.emd2`) is used.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Distance between unit vectors that have nothing in common (cosine 0): what no pairs at all count as.
UNRELATED_COST = float(np.sqrt(2.0))
MAX_ITERATIONS = 1_000_000


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
    cost = distances(source, target)
    import ot

    return float(ot.emd2(ot.unif(len(source)), ot.unif(len(target)), cost, numItermax=MAX_ITERATIONS))


def transport_costs(groups: Sequence[np.ndarray], target: np.ndarray) -> list[float | None]:
    """Transport cost of each group of points to one target, `None` for a group without points."""
    return [transport_cost(group, target) if len(group) else None for group in groups]


def excess_cost(source: np.ndarray, target: np.ndarray, draws: int = 8) -> float:
    """Transport cost to a target, less what as many of the target's own points cost.

    A few points cannot cover a target as many can, so their transport cost is larger whatever their quality. What
    equally many points drawn from the target itself cost to its remainder tells by how much. (A Sinkhorn divergence,
    which subtracts half of what each set costs to itself, makes this worse in many dimensions, where a few points
    cost next to nothing to themselves.)

    Args:
        source (`np.ndarray` of shape `(n, d)`): Points.
        target (`np.ndarray` of shape `(m, d)`): The target; of a single point, nothing is subtracted.
        draws (`int`, *optional*, defaults to `8`): Draws from the target that are averaged; the same at every call.

    Returns:
        `float`: About 0 for points like the target's, however few; in units of embedding distance.

    Raises:
        `ValueError`: If either set is empty.

    >>> points = np.random.default_rng(0).normal(size=(60, 8))
    >>> bool(excess_cost(points[:3], points[10:]) < 0.5 * transport_cost(points[:3], points[10:]))
    True
    """
    cost = transport_cost(source, target)
    # At least as many points stay behind as are taken.
    size = min(len(source), len(target) // 2)
    if not size:
        return cost
    rng = np.random.default_rng([len(target), size])
    own = []
    for _ in range(draws):
        shuffled = rng.permutation(len(target))
        own.append(transport_cost(target[shuffled[:size]], target[shuffled[size:]]))
    return cost - float(np.mean(own))


def marginal_gains(points: np.ndarray, pool: np.ndarray, target: np.ndarray) -> np.ndarray:
    """How fast a pool's transport cost to a target would fall as mass is moved from the pool to each point.

    Transport is a linear programme, and its dual prices say what a little more mass is worth at every place: near a
    part of the target that the pool covers already it is worth little, near a part that the pool leaves bare much
    (Just et al. 2023, arXiv 2305.00054, use the same gradient to value data). The cost cannot fall faster than that.

    Args:
        points (`np.ndarray` of shape `(n, d)`): Candidates, in the pool or not.
        pool (`np.ndarray` of shape `(p, d)`): What there is.
        target (`np.ndarray` of shape `(m, d)`): What is wanted.

    Returns:
        `np.ndarray` of shape `(n,)`: In units of embedding distance; below 0 for a point that draws the pool away.

    >>> target = np.array([[0.0], [10.0]])
    >>> marginal_gains(target, np.array([[0.0], [0.1]]), target).round(2).tolist()
    [0.0, 9.9]
    """
    import ot

    cost = distances(pool, target)
    a, b = ot.unif(len(pool)), ot.unif(len(target))
    _, log = ot.emd(a, b, cost, numItermax=MAX_ITERATIONS, log=True)
    prices = np.asarray(log["v"])
    # The price of a place: the least it costs to serve a target point from it, less what serving that one earns.
    return (distances(pool, target) - prices).min(axis=1).mean() - (distances(points, target) - prices).min(axis=1)


def distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Euclidean distances, shape `(n, m)`, float64.

    Raises:
        `ValueError`: If either set is empty.
    """
    if not len(one) or not len(other):
        raise ValueError(f"transport needs points on both sides, got {len(one)} and {len(other)}")
    import ot

    return ot.dist(one.astype(np.float64), other.astype(np.float64), metric="euclidean")
