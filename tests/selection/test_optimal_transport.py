"""Transport cost: exact, and on the right scale."""

import itertools

import numpy as np
import ot
import pytest
from hypothesis import given
from hypothesis import strategies as st

from equal_hf.selection.optimal_transport import excess_cost, marginal_gains, transport_cost, transport_costs


@given(st.integers(0, 10_000), st.integers(1, 5))
def test_equals_the_best_matching_of_equally_many_points(seed, n):
    rng = np.random.default_rng(seed)
    one, other = rng.normal(size=(n, 3)), rng.normal(size=(n, 3))
    best = min(
        np.mean([np.linalg.norm(one[i] - other[j]) for i, j in enumerate(order)])
        for order in itertools.permutations(range(n))
    )
    assert transport_cost(one, other) == pytest.approx(best, abs=1e-9)


def test_is_zero_for_the_same_points_and_grows_with_distance():
    points = np.random.default_rng(0).normal(size=(20, 4))
    assert transport_cost(points, points) == pytest.approx(0, abs=1e-6)
    assert transport_cost(points, points + 1.0) == pytest.approx(2.0)


def test_no_points_is_said_not_guessed():
    assert transport_costs([np.zeros((0, 2)), np.ones((1, 2))], np.ones((2, 2))) == [None, 0.0]
    with pytest.raises(ValueError, match="both sides"):
        transport_cost(np.zeros((0, 2)), np.ones((1, 2)))


def test_is_exact_and_quick():
    import time

    rng = np.random.default_rng(0)
    pairs, reference = (rng.normal(size=(n, 384)) for n in (100, 300))
    pairs, reference = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (pairs, reference))
    exact = ot.emd2(np.full(100, 1 / 100), np.full(300, 1 / 300), ot.dist(pairs, reference, metric="euclidean"))
    assert transport_cost(pairs, reference) == pytest.approx(exact, abs=1e-6)
    spent = []
    for _ in range(9):
        began = time.perf_counter()
        transport_cost(pairs, reference)
        spent.append(time.perf_counter() - began)
    assert min(spent) < 0.02


def test_excess_over_the_targets_own_points_does_not_grow_as_points_get_few():
    rng = np.random.default_rng(1)
    target = np.repeat(np.eye(8), 12, axis=0) + 0.01 * rng.normal(size=(96, 8))
    plain = [transport_cost(target[rng.choice(96, n, replace=False)], target) for n in (2, 40)]
    excess = [excess_cost(target[rng.choice(96, n, replace=False)], target) for n in (2, 40)]
    assert plain[0] > plain[1] + 0.5
    assert abs(excess[0] - excess[1]) < 0.2
    assert excess_cost(target[:1], target[:1]) == 0.0


@given(st.integers(0, 1000))
def test_marginal_gains_are_what_a_little_more_mass_changes(seed):
    """Against a small step done in full."""

    rng = np.random.default_rng(seed)
    pool, target, points = rng.normal(size=(7, 3)), rng.normal(size=(5, 3)), rng.normal(size=(4, 3))
    gains = marginal_gains(points, pool, target)
    step = 1e-6
    b = np.full(5, 1 / 5)
    before = transport_cost(pool, target)
    for gain, point in zip(gains, points, strict=True):
        mass = np.append(np.full(7, (1 - step) / 7), step)
        after = ot.emd2(mass, b, ot.dist(np.vstack([pool, point]), target, metric="euclidean"))
        # A linear programme is convex in its masses: no step falls faster than its price says.
        assert (before - after) / step <= gain + 1e-6


def test_marginal_gains_pay_for_what_is_bare_and_not_for_what_is_covered():
    target = np.eye(4)
    pool = np.eye(4)[[0, 0, 0, 1]]
    gains = marginal_gains(target, pool, target)
    assert gains[:2].max() < gains[2:].min()
