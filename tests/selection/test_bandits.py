"""Policies: what they pull, and what they learn from."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from equal_hf.errors import ConfigError
from equal_hf.selection.bandits import UCB, Thompson, Uniform
from equal_hf.selection.neighbours import Neighbours


def play(bandit, rewards, remaining, rounds, arms=2, documents=3, seed=0, noise=0.0):
    """Pull arms of known rewards; how many documents each gave."""
    rewards, remaining = np.asarray(rewards), np.array(remaining)
    drawn = np.zeros(len(rewards), dtype=int)
    for index in range(rounds):
        rng = np.random.default_rng([seed, index])
        pulls = bandit.select(arms, documents, remaining - drawn, rng)
        bandit.update([pull.arm for pull in pulls], [rewards[pull.arm] + noise * rng.normal() for pull in pulls])
        for pull in pulls:
            drawn[pull.arm] += pull.documents
    return drawn


def test_scores_are_the_papers_formula():
    bandit = UCB(alpha=0.5)
    bandit.start(2)
    bandit.update([0, 0, 1], [1.0, 0.0, 0.2])
    expected = [0.5 + 0.5 * np.sqrt(2 * np.log(3) / 2), 0.2 + 0.5 * np.sqrt(2 * np.log(3) / 1)]
    np.testing.assert_allclose(bandit.scores(), expected)


def test_every_arm_is_looked_at_once_without_a_prior():
    bandit = UCB(prior_weight=0)
    bandit.start(7, prior=np.arange(7.0))
    drawn = play(bandit, np.zeros(7), [9] * 7, rounds=4, arms=2, documents=1)
    assert (drawn >= 1).all()


def test_a_good_arm_among_many_is_found_by_its_prior_and_kept_by_its_reward():
    rewards = np.full(1000, -1.0)
    rewards[371] = 1.0
    prior = np.random.default_rng(5).normal(size=1000)
    prior[371] = 2.5
    bandit = UCB(alpha=0.1)
    bandit.start(1000, prior=prior)
    drawn = play(bandit, rewards, [500] * 1000, rounds=60)
    assert drawn[371] >= 0.4 * drawn.sum()


def test_a_misleading_prior_fades():
    bandit = UCB(alpha=0.1, prior_weight=2.0)
    bandit.start(3, prior=np.array([3.0, 0.0, 0.0]))
    drawn = play(bandit, [-2.0, 1.0, 1.0], [300] * 3, rounds=50, arms=1)
    assert drawn[0] < 0.2 * drawn.sum()


def test_an_offset_between_pairs_and_documents_does_not_favour_arms_already_pulled():
    bandit = UCB(alpha=0.0)
    prior = np.linspace(0, 1, 201)
    bandit.start(201, prior=prior)
    pulled = list(range(0, 200, 2))
    bandit.update(pulled, prior[pulled] + 5.0)  # each exactly as expected, five higher throughout
    order = np.argsort(-bandit.scores()).tolist()
    assert order.index(199) < order.index(150)


def test_neighbours_share_rewards():
    neighbours = Neighbours(np.array([0, 1, 2, 2]), np.array([1, 0]), np.ones(2))
    bandit = UCB(alpha=0.0, prior_weight=0)
    bandit.start(3, neighbours=neighbours)
    bandit.update([0, 2], [1.0, 0.5])
    assert bandit.statistics.counts.tolist() == [1, 1, 1]
    assert bandit.scores().tolist() == [1.0, 1.0, 0.5]


def test_neighbours_share_rewards_by_their_weight():
    neighbours = Neighbours(np.array([0, 1, 2, 2]), np.array([1, 0]), np.array([0.25, 0.25]))
    bandit = UCB(alpha=0.0, prior_weight=1.0, neighbours="centroid")
    bandit.start(3, prior=np.zeros(3), neighbours=neighbours)
    bandit.update([0], [1.0])
    assert bandit.statistics.counts.tolist() == [1, 0.25, 0]
    pulled, near, far = bandit.scores()
    assert pulled > near > far
    with pytest.raises(ConfigError, match="`neighbours` is 'kernel'"):
        Thompson(neighbours="kernel")


def test_no_reward_teaches_nothing():
    bandit = UCB()
    bandit.start(2, prior=np.array([0.1, 0.2]))
    before = bandit.scores()
    bandit.update([0, 1], [None, None])
    np.testing.assert_array_equal(bandit.scores(), before)


@pytest.mark.parametrize("bandit", [UCB(), Uniform()], ids=["ucb", "uniform"])
@given(remaining=st.lists(st.integers(0, 12), min_size=1, max_size=12), arms=st.integers(1, 5), n=st.integers(1, 6))
def test_a_round_draws_as_many_documents_as_it_should_or_as_there_are(bandit, remaining, arms, n):
    left = np.array(remaining)
    bandit.start(len(left), prior=np.zeros(len(left)))
    pulls = bandit.select(arms, n, left, np.random.default_rng(1))
    assert sum(pull.documents for pull in pulls) == min(arms * n, left.sum())
    assert len({pull.arm for pull in pulls}) == len(pulls)
    assert all(0 < pull.documents <= left[pull.arm] for pull in pulls)


def test_ties_are_broken_by_the_seed_and_only_by_it():
    def first(seed):
        bandit = UCB()
        bandit.start(50, prior=np.zeros(50))
        return [pull.arm for pull in bandit.select(5, 1, np.full(50, 9), np.random.default_rng(seed))]

    assert first(3) == first(3)
    assert first(3) != first(4)


def test_uniform_is_uniform_over_documents():
    sizes = np.array([10, 90])
    counts = np.zeros(2)
    bandit = Uniform()
    for seed in range(400):
        for pull in bandit.select(1, 10, sizes, np.random.default_rng(seed)):
            counts[pull.arm] += pull.documents
    assert abs(counts[0] / counts.sum() - 0.1) < 0.02
