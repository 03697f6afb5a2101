"""Whose doing a falling loss was."""

import numpy as np
import pytest

from equal_hf.selection.experimental.loss_attribution import TrainedRound, attribute_loss, loss_attribution_reward
from equal_hf.types import Decision, Round


def rounds_of(effects, n, noise, seed=0, per=3, fading=0.0):
    """Rounds of `per` arms each; the drop is the mean effect of their rows, and what fades."""
    rng = np.random.default_rng(seed)
    rounds = []
    for t in range(n):
        arms = rng.choice(len(effects), per, replace=False)
        rows = {int(arm): int(rng.integers(4, 12)) for arm in arms}
        drop = sum(effects[arm] * count for arm, count in rows.items()) / sum(rows.values())
        rounds.append(TrainedRound(rows, drop + fading / (t + 1) + noise * rng.normal()))
    return rounds


def test_arms_are_told_apart_over_rounds():
    effects = np.array([0.10] * 3 + [0.0] * 9)
    effect_of = attribute_loss(rounds_of(effects, 40, noise=0.01))
    told = np.array([effect_of[arm] for arm in range(12)])
    assert told[:3].min() > told[3:].max()
    assert np.corrcoef(told, effects)[0, 1] > 0.9


def test_a_loss_that_falls_by_itself_is_nobodys_doing():
    effect_of = attribute_loss(rounds_of(np.zeros(8), 30, noise=0.001, fading=0.5))
    assert np.ptp(list(effect_of.values())) < 0.02


def test_without_evidence_every_arm_gets_the_average():
    assert attribute_loss([TrainedRound({0: 5, 1: 9}, 0.25)]) == pytest.approx({0: 0.25, 1: 0.25})


def test_replayed_rows_take_their_share():
    """An arm whose rows were a tenth of the round is not paid for all of it."""
    alone = [TrainedRound({0: 10}, 0.2), TrainedRound({1: 10}, 0.0)] * 6
    thin = [TrainedRound({0: 1}, 0.2, replayed=9), TrainedRound({1: 10}, 0.0)] * 6
    assert attribute_loss(alone)[0] == pytest.approx(0.2, abs=0.02)
    assert attribute_loss(alone)[1] == pytest.approx(0.0, abs=0.02)
    assert attribute_loss(thin)[0] > attribute_loss(thin)[1]


def test_only_arms_that_were_trained_on_have_a_reward():
    round = Round(0, (Decision(0, 0.0, ("a",)), Decision(1, 0.0, ("b",))), ())
    assert loss_attribution_reward(round, loss_history=[]) == [None, None]
    assert loss_attribution_reward(round, loss_history=[TrainedRound({0: 4, 1: 0}, 0.5)]) == [pytest.approx(0.5), None]
