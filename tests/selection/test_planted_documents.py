"""Planted problems for the selection by default, which draws the best documents of all clusters."""

import numpy as np
import pytest

from equal_hf.selection.config import SelectionConfig
from equal_hf.selection.document_costs import DocumentCosts
from equal_hf.selection.rewards import value_reward
from tests.selection.planted import Planted, copies, giving, nothing

MONEY = DocumentCosts(document=0.0, prompt=1.0, completion=4.0)


def played(world, rounds, *, arms=5, lag=0, grade=None, **settings):
    """The cluster of every document drawn, by round; ten documents a round."""
    selector = world.selector(SelectionConfig().make_bandit(), [value_reward], draw_by="document", **settings)
    return world.play(selector, rounds, arms=arms, lag=lag, each="document", grade=grade)


def share_of(rounds, arms):
    drawn = [arm for round in rounds for arm in round]
    return sum(arm in set(arms) for arm in drawn) / len(drawn)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_one_good_cluster_among_a_thousand_is_found_within_a_hundred_documents(seed):
    similarities = np.random.default_rng(seed + 1).uniform(0.0, 0.5, size=1000)
    good = int(np.argsort(-similarities)[60])  # sixty clusters look better, and give nothing
    world = Planted(
        similarities, [giving(0.9, 3) if arm == good else nothing for arm in range(1000)], size=12, seed=seed
    )
    rounds = played(world, 20)
    first = next(place for place, round in enumerate(rounds) if good in round)
    assert (first + 1) * 10 <= 100
    assert (
        sum(round.count(good) for round in rounds[first : first + 4]) == 12
    )  # once found, it is drawn till it is dry


def test_look_alikes_without_pairs_are_left_after_few_documents():
    world = Planted([0.7] * 20 + [0.5] * 20 + [0.0] * 60, [nothing] * 20 + [giving(0.8, 3)] * 20 + [nothing] * 60)
    rounds = played(world, 40)
    assert share_of(rounds, range(20)) <= 0.15
    assert share_of(rounds[20:], range(20, 40)) >= 0.9


def test_several_pockets_far_from_the_reference_are_found():
    """Nothing that is known tells of them: clusters far away, whose pairs are better than those near by."""
    pockets = range(30, 36)
    pairs = [giving(0.5, 1)] * 30 + [giving(0.95, 3)] * 6 + [nothing] * 64
    world = Planted([0.6] * 30 + [0.0] * 70, pairs, size=40)
    found = {arm for round in played(world, 60) for arm in round if arm in pockets}
    alone = {arm for round in played(world, 60, explore=0.0) for arm in round if arm in pockets}
    assert len(found) >= 4
    assert len(alone) < len(found)


def test_near_copies_of_one_good_document_do_not_fill_the_pool():
    world = Planted([0.7] * 5 + [0.6] * 20, [copies()] * 5 + [giving(0.8, 2)] * 20)
    assert share_of(played(world, 30), range(5)) <= 0.1  # though all are nearest and best


def test_what_a_document_costs_counts_where_money_is_spent():
    """Thirty mediocre pairs at the price of thirty, against two good ones."""
    world = Planted([0.5] * 40, [giving(0.9, 2)] * 10 + [giving(0.3, 30)] * 30)
    assert share_of(played(world, 30, costs=MONEY), range(10)) >= 0.8
    same = Planted([0.5] * 40, [giving(0.8, 3)] * 10 + [giving(0.8, 9)] * 30)  # three pairs of a document count
    by_money, by_document = (share_of(played(same, 20, costs=costs), range(10)) for costs in (MONEY, DocumentCosts()))
    assert by_money > by_document + 0.2


def test_value_that_drifts_is_followed():
    """What the good kind of documents gives dries up halfway."""
    world = Planted([0.5] * 20, [giving(0.9, 3)] * 10 + [giving(0.6, 2)] * 10, size=60)

    def late(discount):
        selector = world.selector(
            SelectionConfig(bandit_discount=discount).make_bandit(),
            [value_reward],
            draw_by="document",
            discount=discount,
        )
        given = world.pairs
        world.pairs = given
        world.play(selector, 12, each="document")
        world.pairs = [[own[0][:0]] * len(own) if arm < 10 else own for arm, own in enumerate(given)]
        rounds = []
        for index in range(12, 30):
            selector.advance(index - 1)
            draws = selector.draw(5, 2, np.random.default_rng([7, index]))
            round, embeddings, drawn = world.round(index, draws)
            rewards = selector.rewards("extracted", round, **selector.take(round, embeddings, drawn))
            selector.record_rewards(round, rewards)
            rounds.append([draw.arm for draw in draws for _ in draw.rows])
        world.pairs = given
        return share_of(rounds[8:], range(10, 20))

    assert late(0.8) >= 0.8


@pytest.mark.parametrize("lag", [0, 1])
def test_rewards_may_come_a_round_late(lag):
    world = Planted([0.7] * 10 + [0.5] * 10, [nothing] * 10 + [giving(0.8, 3)] * 10)
    assert share_of(played(world, 20, lag=lag)[10:], range(10, 20)) >= 0.8


def test_grades_find_what_nearness_cannot_tell_and_grades_that_are_noise_cost_little():
    """Two kinds of documents, alike near the target: of one kind the pairs are what it needs."""
    world = Planted([0.5] * 60, [giving(0.7, 2)] * 60, size=30)
    useful = range(0, 60, 6)

    def right(arm, rng):
        return 3 if rng.random() < (0.8 if arm in useful else 0.05) else 0

    def noise(arm, rng):
        return 3 * int(rng.random() < 0.5)

    assert share_of(played(world, 30, grade=right), useful) >= 0.33  # chance: 0.17
    without, with_noise = 0.0, 0.0
    for seed in range(4):
        look_alikes = Planted([0.7] * 20 + [0.5] * 20, [giving(0.2, 3)] * 20 + [giving(0.9, 3)] * 20, seed=seed)
        without += share_of(played(look_alikes, 30), range(20, 40))
        with_noise += share_of(played(look_alikes, 30, grade=noise), range(20, 40))
    assert with_noise >= 0.97 * without
