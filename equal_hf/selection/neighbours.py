"""Which clusters are near enough to share evidence: Bures-Wasserstein distance between Gaussians.

Distance of N(m1, C1) and N(m2, C2):  d² = |m1 - m2|² + tr(C1 + C2 - 2 (C1^½ C2 C1^½)^½), with true matrix square
roots (Dowson and Landau 1982). The mean term alone is a lower bound, so only pairs whose means are near are worked
out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Neighbour lists of every arm in compressed sparse rows; an arm is not its own neighbour.

    Args:
        indptr (`np.ndarray` of shape `(k + 1,)`): Where each arm's list starts.
        indices (`np.ndarray` of shape `(nnz,)`): The neighbours, arm after arm.
    """

    indptr: np.ndarray
    indices: np.ndarray

    def of(self, arm: int) -> np.ndarray:
        """The neighbours of one arm."""
        return self.indices[self.indptr[arm] : self.indptr[arm + 1]]


def matrix_sqrt(matrices: np.ndarray) -> np.ndarray:
    """Square roots of symmetric positive semi-definite matrices, shape `(..., p, p)`.

    >>> matrix_sqrt(np.array([[2.0, 0.0], [0.0, 8.0]])).round(6)[1, 1]
    np.float64(2.828427)
    """
    values, vectors = np.linalg.eigh(matrices)
    roots = np.sqrt(np.clip(values, 0.0, None))
    return (vectors * roots[..., None, :]) @ np.swapaxes(vectors, -1, -2)


def bures_wasserstein(means: np.ndarray, covariances: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Bures-Wasserstein distances of the pairs `(one[i], other[i])`.

    Args:
        means (`np.ndarray` of shape `(k, d)`): Means of all Gaussians.
        covariances (`np.ndarray` of shape `(k, p, p)`): Their covariances, in any orthonormal basis of p dimensions.
        one, other (`np.ndarray` of shape `(n,)`): Indices of the pairs.

    Returns:
        `np.ndarray` of shape `(n,)`: Distances, in units of the embedding.
    """
    mean_term = ((means[one] - means[other]) ** 2).sum(-1)
    roots = matrix_sqrt(covariances[one])
    cross = np.linalg.eigvalsh(roots @ covariances[other] @ roots)
    traces = np.trace(covariances, axis1=1, axis2=2)
    spread = traces[one] + traces[other] - 2.0 * np.sqrt(np.clip(cross, 0.0, None)).sum(-1)
    return np.sqrt(np.clip(mean_term + spread, 0.0, None))


def find_neighbours(
    means: np.ndarray, covariances: np.ndarray, radius: float, block: int = 1024, batch: int = 16_384
) -> Neighbours:
    """All pairs of clusters nearer than `radius`.

    Args:
        means (`np.ndarray` of shape `(k, d)`): Cluster means.
        covariances (`np.ndarray` of shape `(k, p, p)`): Cluster covariances.
        radius (`float`): Bures-Wasserstein distance under which two clusters are neighbours (0.2 in the paper).
        block (`int`, *optional*, defaults to `1024`): Rows of the distance matrix held at once.
        batch (`int`, *optional*, defaults to `16384`): Covariance pairs worked out at once; bounds memory.

    Returns:
        [`Neighbours`]: Symmetric lists, in ascending order.
    """
    k = len(means)
    means = means.astype(np.float64)
    norms = (means**2).sum(-1)
    near: list[np.ndarray] = []
    for start in range(0, k, block):
        rows = slice(start, min(start + block, k))
        squared = norms[rows, None] + norms[None, :] - 2.0 * means[rows] @ means.T
        one, other = np.nonzero(squared < radius**2)
        one = one + start
        keep = one < other
        for at in range(0, int(keep.sum()), batch):
            i, j = one[keep][at : at + batch], other[keep][at : at + batch]
            close = bures_wasserstein(means, covariances.astype(np.float64), i, j) < radius
            near.append(np.stack([i[close], j[close]]))
    pairs = np.concatenate(near, axis=1) if near else np.zeros((2, 0), dtype=np.int64)
    both = np.concatenate([pairs, pairs[::-1]], axis=1)
    order = np.lexsort((both[1], both[0]))
    indptr = np.zeros(k + 1, dtype=np.int64)
    np.cumsum(np.bincount(both[0], minlength=k), out=indptr[1:])
    return Neighbours(indptr, both[1][order].astype(np.int64))
