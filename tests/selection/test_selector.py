"""The fold that a run, a replay and a benchmark share."""

import numpy as np
import pytest

from equal_hf.errors import ConfigError
from equal_hf.selection.bandits import UCB, Greedy, Uniform
from equal_hf.selection.pair_sample import HashPool
from equal_hf.selection.rewards import known_at, loss_drop_reward, per_token, transport_reward, value_reward
from equal_hf.types import QAPair
from tests.selection.planted import DIMENSION, Planted, giving, nothing, unit


@pytest.fixture
def world():
    return Planted([0.7] * 5 + [0.5] * 10 + [0.0] * 15, [nothing] * 5 + [giving(0.8, 3)] * 10 + [nothing] * 15)


def test_the_same_rounds_give_the_same_state(world):
    """As after a kill: rounds taken from records, rewards from records, then on."""
    live = world.selector(UCB(), [value_reward, transport_reward])
    folded = world.selector(UCB(), [value_reward, transport_reward])
    for index in range(6):
        live.advance(index - 1)
        draws = live.draw(4, 2, np.random.default_rng([1, index]))
        round, embeddings, drawn = world.round(index, draws)
        rewards = live.rewards("extracted", round, **live.take(round, embeddings, drawn))
        live.record_rewards(round, rewards)
        folded.take(round, embeddings, drawn)
        folded.record_rewards(round, rewards)
    for selector in (live, folded):
        selector.advance(5)
    one, other = (s.draw(4, 2, np.random.default_rng(9)) for s in (live, folded))
    assert [(d.arm, d.rows, d.score, d.expected_value) for d in one] == [
        (d.arm, d.rows, d.score, d.expected_value) for d in other
    ]


def test_what_comes_next_is_told_without_changing_anything(world):
    """If a round teaches nothing, the next draws what was foretold; and foretelling leaves no trace."""
    selector = world.selector(UCB(), [value_reward])
    world.play(selector, rounds=3, arms=4)
    draws = selector.draw(4, 2, np.random.default_rng(1))
    then = selector.after(draws)
    foretold = {
        p.arm: then.order_of(p.arm)[: p.documents].tolist() for p in then.pulls(4, 2, np.random.default_rng(2))
    }
    again = selector.draw(4, 2, np.random.default_rng(1))
    assert [(d.arm, d.rows, d.score) for d in again] == [(d.arm, d.rows, d.score) for d in draws]
    for draw in draws:
        selector._remove(draw.arm, draw.rows)
    assert foretold == {d.arm: list(d.rows) for d in selector.draw(4, 2, np.random.default_rng(2))}


def test_documents_are_drawn_once_and_all_are_drawn(world):
    selector = world.selector(Uniform(), [transport_reward])
    world.play(selector, rounds=999, arms=20)
    assert selector.remaining.sum() == 0
    assert all(sorted(rows) == list(range(40)) for rows in selector._drawn.values())


def test_orders_inside_a_cluster(world):
    def first(order, bandit=None):
        selector = world.selector(bandit or Greedy(), [transport_reward], order=order)
        draws = selector.draw(30, 2, np.random.default_rng(0))
        return {draw.arm: draw.rows for draw in draws}

    nearest = first("nearest")
    for arm, rows in nearest.items():
        similarity = world.documents[arm] @ world.reference.mean(axis=0)
        assert list(rows) == np.argsort(-similarity)[:2].tolist()
    assert set(first("random").values()) == {(0, 1)}
    assert first("value") == nearest  # nothing is learned yet
    # A uniform control is uniform inside a cluster too: it takes stored order, which is shuffled.
    assert all(rows == tuple(range(len(rows))) for rows in first("nearest", Uniform()).values())


def test_a_document_that_was_lost_teaches_nothing(world):
    selector, other = world.selector(Greedy(), [value_reward]), world.selector(Greedy(), [value_reward])
    draws = selector.draw(5, 2, np.random.default_rng(0))
    lost = frozenset(f"{draw.arm}-{row}" for draw in draws for row in draw.rows)
    for s, gone in ((selector, lost), (other, frozenset())):
        round, embeddings, drawn = world.round(0, draws, gone)
        rewards = s.rewards("extracted", round, **s.take(round, embeddings, drawn))
        s.record_rewards(round, rewards)
        s.advance(0)
        assert rewards["value"] == ([None] * 5 if gone else [0.0] * 5)
    documents = np.concatenate(world.documents)
    np.testing.assert_array_equal(
        selector.value_model.expected(documents), selector.value_model.nearness(documents)[:, 0]
    )
    assert other.value_model.expected(documents).max() < 0.1


def test_several_targets_are_rewarded_by_name_and_mixed_by_weight(world):
    second = unit(np.eye(DIMENSION)[1] + 0.1 * np.random.default_rng(1).normal(size=(20, DIMENSION)))
    references = {"sums": world.reference, "proofs": second}
    weights = {"sums": 3.0, "proofs": 1.0}
    rewards = [value_reward, transport_reward, loss_drop_reward]
    selector = world.selector(UCB(), rewards, references=references, target_weights=weights, weights=[1.0, 0.5, 2.0])
    assert selector.weights == {
        "value_sums": 0.75,
        "value_proofs": 0.25,
        "transport_sums": 0.375,
        "transport_proofs": 0.125,
        "loss_drop": 2.0,
    }
    assert set(selector.scaler.priors) == {"value_sums", "value_proofs", "transport_sums", "transport_proofs"}
    world.play(selector, rounds=5)
    alone = world.selector(UCB(), [value_reward], references=references, target_weights={"sums": 1.0, "proofs": 0.0})
    only = world.selector(UCB(), [value_reward])
    drawn = [[(d.arm, d.rows) for d in s.draw(5, 2, np.random.default_rng(0))] for s in (alone, only)]
    assert drawn[0] == drawn[1]
    with pytest.raises(ConfigError, match="target_weights"):
        world.selector(UCB(), rewards, references=references, target_weights={"sums": -1.0})


def test_a_reward_says_by_its_decorator_whether_it_differs_between_targets(world):
    references = {"sums": world.reference, "proofs": world.reference[:5]}

    @known_at("extracted", per_target=True)
    def size_reward(round, **context):  # takes what differs out of `context`, so its signature does not name it
        return [float(len(context["reference_embeddings"]))] * len(round.decisions)

    @known_at("extracted", per_target=False)
    def whole_reward(round, *, reference_embeddings, document_values, **context):
        return [float(len(reference_embeddings)) + document_values.shape[1]] * len(round.decisions)

    @known_at("extracted")  # as a reward that was written before the decorator took `per_target`
    def named_reward(round, *, reference_embeddings, **context):
        return [float(len(reference_embeddings))] * len(round.decisions)

    rewards = [size_reward, whole_reward, named_reward, per_token(size_reward)]
    selector = world.selector(UCB(), rewards, references=references)
    assert list(selector.functions) == [
        *("size_sums", "size_proofs", "whole", "named_sums", "named_proofs"),
        *("size_per_token_sums", "size_per_token_proofs"),
    ]
    draws = selector.draw(1, 2, np.random.default_rng(0))
    round, embeddings, drawn = world.round(0, draws)
    given = selector.rewards("extracted", round, **selector.take(round, embeddings, drawn))
    assert [given[name] for name in list(given)[:5]] == [[30.0], [5.0], [37.0], [30.0], [5.0]]


def test_an_earlier_name_of_the_context_is_refused_with_the_new_one():
    with pytest.raises(ConfigError, match="`document_values` now"):

        @known_at("extracted")
        def old_reward(round, *, document_worths, **context):
            return []


def test_names_and_weights_are_checked(world):
    with pytest.raises(ConfigError, match="two reward functions"):
        world.selector(UCB(), [value_reward, value_reward])
    with pytest.raises(ConfigError, match="1 values for 2"):
        world.selector(UCB(), [value_reward, transport_reward], weights=[1.0])


def test_rewards_per_token_are_scaled_by_themselves(world):
    selector = world.selector(UCB(), [per_token(value_reward)])
    assert set(selector.scaler.priors) == set() and selector.value_model is not None
    world.play(selector, rounds=3)


def test_losses_are_remembered_for_attribution(world):
    selector = world.selector(UCB(), [value_reward])
    draws = selector.draw(2, 2, np.random.default_rng(0))
    round, embeddings, drawn = world.round(0, draws)
    selector.take(round, embeddings, drawn)
    metrics = {"eval_loss": 3.0, "previous_eval_loss": 4.0, "trained_rows": [5, 0], "replayed_rows": 3}
    told = selector.loss_history(round, metrics)
    assert told[0].drop == 0.25 and told[0].replayed == 3 and list(told[0].rows.values()) == [5, 0]
    assert selector.trained == []
    selector.record_rewards(round, {"value": [0.0, 0.0]}, metrics)
    assert selector.trained == told
    assert selector.loss_history(round, {"eval_loss": None, "previous_eval_loss": 4.0, "trained_rows": [1, 1]}) == []


def test_the_pool_is_the_same_whatever_order_pairs_come_in():
    pairs = [QAPair(f"q{i}", "a", "d") for i in range(50)]
    vectors = np.arange(50, dtype=np.float32)[:, None]
    forward, backward = HashPool(8), HashPool(8)
    for start in range(0, 50, 10):
        forward.add(pairs[start : start + 10], vectors[start : start + 10])
    backward.add(pairs[::-1], vectors[::-1])
    assert sorted(forward.embeddings[:, 0]) == sorted(backward.embeddings[:, 0])
    assert len(forward.embeddings) == 8
