"""Bures-Wasserstein distance and the neighbours it gives."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from equal_hf.errors import ConfigError
from equal_hf.selection.neighbours import bures_wasserstein, find_neighbours


def gaussians(k, d, seed=0, spread=1.0):
    rng = np.random.default_rng(seed)
    roots = rng.normal(size=(k, d, d)) * 0.1
    return rng.normal(size=(k, d)) * spread, roots @ roots.transpose(0, 2, 1)


def test_agrees_with_a_general_matrix_square_root():
    means, covariances = gaussians(6, 4)
    one, other = np.triu_indices(6, 1)
    found = bures_wasserstein(means, covariances, one, other)
    for i, j, distance in zip(one, other, found, strict=True):
        root = sqrtm(covariances[i])
        cross = np.real(sqrtm(root @ covariances[j] @ root))
        expected = ((means[i] - means[j]) ** 2).sum() + np.trace(covariances[i] + covariances[j] - 2 * cross)
        assert distance**2 == pytest.approx(expected, abs=1e-6)


def test_of_a_gaussian_to_itself_is_zero():
    means, covariances = gaussians(3, 5)
    same = np.arange(3)
    assert bures_wasserstein(means, covariances, same, same) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("block", [3, 1024])
def test_neighbours_are_all_pairs_within_the_radius(block):
    means, covariances = gaussians(40, 3, spread=0.3)
    neighbours = find_neighbours(means, covariances, radius=0.35, block=block, batch=7)
    one, other = np.triu_indices(40, 1)
    near = bures_wasserstein(means, covariances, one, other) < 0.35
    expected = {(int(i), int(j)) for i, j in zip(one[near], other[near], strict=True)}
    assert 0 < len(expected) < len(one)
    found = {(arm, int(other)) for arm in range(40) for other in neighbours.of(arm)[0]}
    assert found == expected | {(j, i) for i, j in expected}
    assert (neighbours.weights == 1).all()


@pytest.mark.parametrize("block", [3, 1024])
def test_a_kernel_on_centroids_shares_by_their_distance_alone(block):
    means, covariances = gaussians(40, 3, spread=0.3)
    neighbours = find_neighbours(means, covariances, radius=0.1, kind="centroid", block=block)
    distances = np.linalg.norm(means[:, None] - means[None, :], axis=-1)
    expected = np.where(distances < 0.3, np.exp(-(distances**2) / (2 * 0.1**2)), 0.0)
    np.fill_diagonal(expected, 0.0)
    found = np.zeros((40, 40))
    for arm in range(40):
        others, weights = neighbours.of(arm)
        found[arm, others] = weights
    assert 0 < (found > 0).sum() < found.size / 2
    np.testing.assert_allclose(found, expected, atol=1e-9)
    again = find_neighbours(means, 5 * covariances, radius=0.1, kind="centroid")
    np.testing.assert_array_equal(again.weights, neighbours.weights)


def test_no_cluster_no_neighbours_and_no_other_kind():
    assert len(find_neighbours(np.zeros((0, 2)), np.zeros((0, 2, 2)), 0.2).indices) == 0
    with pytest.raises(ConfigError, match="`neighbours` is 'cosine': set it to one of bures, centroid"):
        find_neighbours(np.zeros((2, 2)), np.zeros((2, 2, 2)), 0.2, kind="cosine")
