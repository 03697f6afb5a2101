"""A round's bookkeeping over a hundred thousand arms."""

import time

import numpy as np
import pytest

from equal_hf.selection.bandits import UCB, Thompson
from equal_hf.selection.experimental.linucb import LinUCB

ARMS = 100_000


@pytest.mark.parametrize("policy", [UCB, Thompson, LinUCB], ids=["UCB", "Thompson", "LinUCB"])
def test_a_round_over_a_hundred_thousand_arms_takes_ten_sorts_of_as_many_numbers_at_most(policy):
    """A sort took some 4 ms where a round took 16 to 24, so this is under 50 ms wherever a sort takes under 5."""
    rng = np.random.default_rng(0)
    bandit = policy()
    bandit.start(ARMS, rng.normal(size=ARMS), None, rng.normal(size=(ARMS, 32)))
    remaining, expected = rng.integers(1, 2000, size=ARMS), rng.normal(size=ARMS)
    spent, sorts = [], []
    for _ in range(12):
        began = time.perf_counter()
        np.argsort(rng.normal(size=ARMS))
        sorts.append(time.perf_counter() - began)
        began = time.perf_counter()
        pulls = bandit.select(50, 10, remaining, rng, expected)
        bandit.update([pull.arm for pull in pulls], rng.normal(size=len(pulls)).tolist())
        spent.append(time.perf_counter() - began)
    assert min(spent) < 10 * min(sorts)
