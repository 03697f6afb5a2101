"""Which clusters are near enough to share rewards, and with what weight.

Two kinds, both over the clusters' means and both with a radius in units of the embedding:

- `"bures"`: clusters within that Bures-Wasserstein distance share rewards wholly. Of N(m1, C1) and N(m2, C2) it is
  d² = |m1 - m2|² + tr(C1 + C2 - 2 (C1^½ C2 C1^½)^½), with true matrix square roots (Dowson and Landau 1982). The mean
  term alone is a lower bound, so only pairs whose means are near are worked out.
- `"centroid"`: clusters share rewards by a Gaussian kernel on the distance of their means, exp(-|m1 - m2|² / 2 r²),
  up to [`KERNEL_REACH`] radii (a share of 1 %). It looks at no covariance, and has no edge to fall off.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from equal_hf.errors import ConfigError

NEIGHBOURS = ("bures", "centroid")
KERNEL_REACH = 3.0


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Neighbour lists of every arm in compressed sparse rows; an arm is not its own neighbour.

    Args:
        indptr (`np.ndarray` of shape `(k + 1,)`): Where each arm's list starts.
        indices (`np.ndarray` of shape `(nnz,)`): The neighbours, arm after arm.
        weights (`np.ndarray` of shape `(nnz,)`): What a reward of the arm counts for each, above 0 and at most 1.
    """

    indptr: np.ndarray
    indices: np.ndarray
    weights: np.ndarray

    def of(self, arm: int) -> tuple[np.ndarray, np.ndarray]:
        """The neighbours of one arm, and what its rewards count for them."""
        own = slice(self.indptr[arm], self.indptr[arm + 1])
        return self.indices[own], self.weights[own]


def check_neighbours(kind: str) -> None:
    """Refuse a kind that there is not.

    Raises:
        [`ConfigError`]: If it is none of [`NEIGHBOURS`].
    """
    if kind not in NEIGHBOURS:
        raise ConfigError(f"`neighbours` is {kind!r}: set it to one of {', '.join(NEIGHBOURS)}")


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
    means: np.ndarray,
    covariances: np.ndarray,
    radius: float,
    *,
    kind: str = "bures",
    block: int = 1024,
    batch: int = 16_384,
) -> Neighbours:
    """All pairs of clusters that share rewards.

    Args:
        means (`np.ndarray` of shape `(k, d)`): Cluster means.
        covariances (`np.ndarray` of shape `(k, p, p)`): Cluster covariances; of no account to `"centroid"`.
        radius (`float`): Bures-Wasserstein distance under which two clusters are neighbours (0.2 in the paper), or the
            kernel's width.
        kind (`str`, *optional*, defaults to `"bures"`): `"bures"` or `"centroid"`.
        block (`int`, *optional*, defaults to `1024`): Rows of the distance matrix held at once.
        batch (`int`, *optional*, defaults to `16384`): Covariance pairs worked out at once; bounds memory.

    Returns:
        [`Neighbours`]: Symmetric lists, in ascending order.

    Raises:
        [`ConfigError`]: If there is no such kind.
    """
    check_neighbours(kind)
    k = len(means)
    means = means.astype(np.float64)
    norms = (means**2).sum(-1)
    reach = radius if kind == "bures" else KERNEL_REACH * radius
    near: list[np.ndarray] = []
    shares: list[np.ndarray] = []
    for start in range(0, k, block):
        rows = slice(start, min(start + block, k))
        squared = norms[rows, None] + norms[None, :] - 2.0 * means[rows] @ means.T
        one, other = np.nonzero(squared < reach**2)
        keep = one + start < other
        one, other, squared = one[keep] + start, other[keep], squared[one[keep], other[keep]]
        if kind == "bures":
            close = _within(means, covariances, one, other, radius, batch)
            one, other, squared = one[close], other[close], np.zeros(int(close.sum()))
        near.append(np.stack([one, other]))
        shares.append(np.exp(-np.clip(squared, 0.0, None) / (2.0 * radius**2)))
    pairs = np.concatenate(near, axis=1) if near else np.zeros((2, 0), dtype=np.int64)
    both = np.concatenate([pairs, pairs[::-1]], axis=1)
    weights = np.tile(np.concatenate([*shares, np.zeros(0)]), 2)
    order = np.lexsort((both[1], both[0]))
    indptr = np.zeros(k + 1, dtype=np.int64)
    np.cumsum(np.bincount(both[0], minlength=k), out=indptr[1:])
    return Neighbours(indptr, both[1][order].astype(np.int64), weights[order])


def _within(
    means: np.ndarray, covariances: np.ndarray, one: np.ndarray, other: np.ndarray, radius: float, batch: int
) -> np.ndarray:
    """Which of the pairs lie within the radius, some at a time."""
    close = np.zeros(len(one), dtype=bool)
    for at in range(0, len(one), batch):
        some = slice(at, at + batch)
        distances = bures_wasserstein(means, covariances.astype(np.float64), one[some], other[some])
        close[some] = distances < radius
    return close
