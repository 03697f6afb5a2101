"""Planted problems: what every policy must find, leave, survive."""

import numpy as np
import pytest

from equal_hf.selection.bandits import UCB, Greedy, Thompson
from equal_hf.selection.experimental.exp3 import EXP3
from equal_hf.selection.experimental.linucb import LinUCB
from equal_hf.selection.experimental.transport_rewards import debiased_transport_reward, marginal_transport_reward
from equal_hf.selection.rewards import transport_reward, value_reward
from equal_hf.types import Decision, QAPair, Round
from tests.selection.planted import Planted, copies, giving, nothing

POLICIES = [UCB, Thompson, LinUCB]
ids = [policy.__name__ for policy in POLICIES]


def pulls_of(pulled, arms):
    wanted = set(arms)
    return sum(arm in wanted for round in pulled for arm in round)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_one_good_arm_among_a_thousand_is_found_within_fifty_pulls(seed):
    similarities = np.random.default_rng(seed + 1).uniform(0.0, 0.5, size=1000)
    good = int(np.argsort(-similarities)[60])  # sixty clusters look better, and give nothing
    pairs = [giving(0.9, 3) if arm == good else nothing for arm in range(1000)]
    world = Planted(similarities, pairs, size=12, seed=seed)
    pulled = world.play(world.selector(UCB(), [value_reward]), rounds=20)
    first = next(place for place, round in enumerate(pulled) if good in round)
    assert (first + 1) * 5 <= 50
    # Once found it is pulled until it is dry: twelve documents, two a pull.
    assert pulls_of(pulled[first : first + 7], [good]) == 6


@pytest.mark.parametrize("policy", [UCB, Thompson], ids=["UCB", "Thompson"])
def test_look_alike_clusters_without_pairs_are_left_after_few_pulls(policy):
    world = Planted([0.7] * 20 + [0.5] * 20 + [0.0] * 60, [nothing] * 20 + [giving(0.8, 3)] * 20 + [nothing] * 60)
    pulled = world.play(world.selector(policy(), [value_reward]), rounds=40)
    assert pulls_of(pulled, range(20)) <= 30  # of 200: once each, and some again
    assert pulls_of(pulled[20:], range(20, 40)) >= 90  # of 100


def test_what_a_bandit_adds_to_a_value_model():
    """Where nothing was found yet no document is expected to give anything, and the nearest stay first."""
    world = Planted([0.7] * 20 + [0.5] * 20, [nothing] * 20 + [giving(0.8, 3)] * 20)
    stuck, left = (
        pulls_of(world.play(world.selector(policy(), [value_reward]), rounds=40), range(20))
        for policy in (Greedy, UCB)
    )
    assert stuck == 200
    assert left <= 50


def test_linucb_learns_of_a_region_from_a_part_of_it():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(400, 8))
    good = features[:, 0] > 1.2
    bandit = LinUCB()
    bandit.start(400, np.zeros(400), None, features)
    pulled = []
    for index in range(40):
        arms = [pull.arm for pull in bandit.select(5, 1, np.full(400, 1), np.random.default_rng([1, index]))]
        bandit.update(arms, [float(good[arm]) for arm in arms])
        pulled.append(arms)
    assert good.sum() < 60
    assert np.mean([good[arm] for arms in pulled[10:20] for arm in arms]) > 3 * good.mean()


@pytest.mark.parametrize("policy", [*POLICIES, EXP3], ids=[*ids, "EXP3"])
def test_a_good_arm_that_runs_dry_is_followed_by_the_next(policy):
    pairs = [giving(0.9, 3), giving(0.6, 3), *[nothing] * 8]
    world = Planted([0.6, 0.5, *[0.1] * 8], pairs, size=10)
    selector = world.selector(policy(), [value_reward])
    pulled = world.play(selector, rounds=99, arms=2)
    assert selector.remaining.sum() == 0  # nothing is left, and nothing is drawn twice
    if policy is not EXP3:
        assert pulls_of(pulled[:6], [0, 1]) >= 8


@pytest.mark.parametrize("policy", POLICIES, ids=ids)
def test_a_tenth_of_rewards_missing_costs_little(policy):
    pairs = [giving(0.9, 3)] * 10 + [nothing] * 40
    world = Planted([0.4] * 50, pairs)

    def found(share):
        plays = (
            world.play(world.selector(policy(), [value_reward]), rounds=30, missing=share, seed=seed)
            for seed in (7, 8, 9)
        )
        return sum(pulls_of(pulled, range(10)) for pulled in plays) / 3

    complete, patchy = found(0.0), found(0.1)
    assert complete >= 100  # of 150; chance finds 30
    assert patchy >= 0.9 * complete


@pytest.mark.parametrize("policy", [*POLICIES, EXP3], ids=[*ids, "EXP3"])
def test_rewards_that_drift_are_followed(policy):
    """Bandits alone: the better half of the arms changes sides halfway."""

    def late_pulls(discount):
        bandit = policy(discount=discount)
        bandit.start(10, np.zeros(10), None, np.eye(10))
        late = 0
        for index in range(200):
            rng = np.random.default_rng([3, index])
            arms = [pull.arm for pull in bandit.select(3, 1, np.full(10, 999), rng)]
            good = range(5) if index < 100 else range(5, 10)
            bandit.update(arms, [4.0 * (arm in good) - 2.0 + 0.1 * rng.normal() for arm in arms])
            late += sum(arm in good for arm in arms) if index >= 130 else 0
        return late

    if policy is EXP3:  # made for it
        assert late_pulls(1.0) >= 0.7 * 210  # chance: half
    else:
        assert late_pulls(0.9) >= max(0.7 * 210, 1.1 * late_pulls(1.0))


def test_a_small_yield_is_not_mistaken_for_a_bad_one():
    axes = np.eye(12, dtype=np.float32)[:6]
    reference = np.repeat(axes, 10, axis=0)  # six kinds of question
    good = axes[:2]  # two pairs just like the target's
    half_way = np.repeat(0.75 * axes, 15, axis=0)
    mediocre = half_way + np.sqrt(1 - 0.75**2) * np.eye(12, dtype=np.float32)[7]
    round = Round(
        0,
        (Decision(0, 0.0, ("a",)), Decision(1, 0.0, ("b",))),
        tuple(QAPair("q", "a", "a", 0) for _ in good) + tuple(QAPair("q", "a", "b", 1) for _ in mediocre),
    )
    context = {"pair_embeddings": np.concatenate([good, mediocre]), "reference_embeddings": reference}
    plain, debiased = transport_reward(round, **context), debiased_transport_reward(round, **context)
    assert plain[0] < plain[1]  # two pairs cannot cover six kinds
    assert debiased[0] > debiased[1]


def test_small_yield_good_arms_win_against_large_yield_mediocre_ones():
    world = Planted([0.5] * 40, [giving(0.9, 2)] * 10 + [giving(0.3, 30)] * 30)
    pulled = world.play(world.selector(UCB(), [value_reward]), rounds=30)
    assert pulls_of(pulled, range(10)) >= 100  # of 150


@pytest.mark.parametrize("rewards", [[value_reward], [value_reward, marginal_transport_reward]], ids=["value", "both"])
def test_near_copies_of_one_good_document_do_not_fill_the_pool(rewards):
    world = Planted([0.7] * 5 + [0.6] * 20, [copies()] * 5 + [giving(0.8, 2)] * 20)
    pulled = world.play(world.selector(UCB(), rewards), rounds=30)
    assert pulls_of(pulled, range(5)) <= 15  # of 150, though all are nearest and best


def test_rewards_may_come_a_round_late():
    world = Planted([0.7] * 10 + [0.5] * 10, [nothing] * 10 + [giving(0.8, 3)] * 10)
    pulled = world.play(world.selector(UCB(), [value_reward]), rounds=20, lag=1)
    assert pulls_of(pulled[10:], range(10, 20)) >= 40  # of 50
