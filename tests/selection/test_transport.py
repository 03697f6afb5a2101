"""Transport cost: exact, and on the right scale."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from equal_hf.selection.transport import transport_cost, transport_costs


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
