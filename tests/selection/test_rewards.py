"""Reward functions and the scale they are mixed on."""

import numpy as np
import pytest

from equal_hf.errors import ConfigError
from equal_hf.selection.reward_scaling import RewardScaler
from equal_hf.selection.rewards import document_prior, known_at, loss_drop_reward, stage_of, transport_reward
from equal_hf.types import Decision, QAPair, Round


def round_of(*clusters, index=0):
    arms = [*sorted(set(clusters)), 99]
    decisions = tuple(Decision(arm, 0.0, (f"d{arm}",)) for arm in arms)
    return Round(index, decisions, tuple(QAPair("q", "a", f"d{c}", cluster=c) for c in clusters))


def test_transport_prefers_pairs_near_the_reference_and_an_empty_arm_comes_last():
    reference = np.array([[1.0, 0.0], [0.9, 0.1]])
    embeddings = np.array([[1.0, 0.0], [0.0, 1.0]])
    near, far, empty = transport_reward(
        round_of(3, 7), pair_embeddings=embeddings, reference_embeddings=reference, anything="else"
    )
    assert near > far > empty


def test_transport_gives_nothing_to_an_arm_that_was_not_extracted():
    untouched = Round(0, (Decision(1, 0.0, ()),), ())
    assert transport_reward(untouched, pair_embeddings=np.zeros((0, 2)), reference_embeddings=np.eye(2)) == [None]


def test_prior_is_on_the_scale_of_the_reward():
    reference = np.eye(2)
    embeddings = np.array([[1.0, 0.0]])
    reward = transport_reward(round_of(0), pair_embeddings=embeddings, reference_embeddings=reference)[0]
    assert document_prior([embeddings], reference)[0] == pytest.approx(reward)


def test_loss_drop_is_relative_and_only_for_arms_that_were_trained_on():
    values = loss_drop_reward(round_of(1, 2), eval_loss=3.0, previous_eval_loss=4.0, trained_rows=[2, 0, 1])
    assert values == [0.25, None, 0.25]
    assert loss_drop_reward(round_of(1), eval_loss=3.0, previous_eval_loss=None, trained_rows=[1, 1]) == [None, None]


def test_a_function_must_say_when_it_is_known():
    def silent_reward(round, **context):
        return []

    with pytest.raises(ConfigError, match="known_at"):
        stage_of(silent_reward)
    with pytest.raises(ConfigError, match="someday"):
        known_at("someday")
    assert stage_of(transport_reward) == "extracted"


def test_mixing_measures_transport_in_spreads_of_its_prior():
    scaler = RewardScaler({"transport": 2.0}, {"transport": np.array([0.0, 0.2, 0.4])})
    spread = np.std([0.0, 0.2, 0.4])
    assert scaler.mix({"transport": [0.4, 0.2]}) == pytest.approx([2.0 * 0.2 / spread, 0.0])
    assert scaler.prior() == pytest.approx(2.0 * np.array([-0.2, 0.0, 0.2]) / spread)


def test_mixing_scales_other_rewards_by_their_running_deviation_after_ten_values():
    scaler = RewardScaler({"loss_drop": 1.0})
    values = [0.1, 0.3] * 5
    assert scaler.mix({"loss_drop": values[:9]}) == values[:9]
    scaled = scaler.mix({"loss_drop": values[9:]})[0]
    assert scaled == pytest.approx(0.3 / np.sqrt(np.mean(np.square(values))))
    scaler.mix({"loss_drop": [0.2] * 20})
    assert scaler.mix({"loss_drop": [1e9, -1e9]}) == [3.0, -3.0]


def test_mixing_keeps_the_sign_of_a_single_number():
    scaler = RewardScaler({"loss_drop": 1.0})
    for drop in (0.2, -0.1, 0.05, -0.3) * 5:
        assert np.sign(scaler.mix({"loss_drop": [drop]})[0]) == np.sign(drop)


def test_an_arm_without_a_reward_gets_none():
    scaler = RewardScaler({"transport": 1.0, "loss_drop": 1.0})
    assert scaler.mix({"transport": [0.5, None], "loss_drop": [None, None]}) == [0.5, None]


def test_constant_rewards_do_not_divide_by_zero():
    scaler = RewardScaler({"transport": 1.0, "loss_drop": 1.0}, {"transport": np.zeros(3)})
    for _ in range(12):
        assert np.isfinite(scaler.mix({"transport": [0.0], "loss_drop": [0.0]})[0])
