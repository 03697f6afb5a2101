"""Rewards paid per token and per unit of money, and for one of several targets."""

import numpy as np
import pytest

from equal_hf.errors import ConfigError
from equal_hf.selection.per_target import for_target
from equal_hf.selection.rewards import (
    per_cost,
    per_token,
    reward_name,
    stage_of,
    transport_reward,
    value_reward,
    yield_reward,
)
from equal_hf.types import Decision, QAPair, Round, Usage

ROUND = Round(
    0,
    (Decision(0, 0.0, ("a", "b")), Decision(1, 0.0, ("c",)), Decision(2, 0.0, ("d",))),
    (QAPair("q", "a", "a", 0), QAPair("q", "a", "b", 0), QAPair("q", "a", "c", 1)),
)
USAGE = [Usage(3000, 1000), Usage(500, 0), Usage(0, 0)]


def test_a_reward_per_token_is_what_a_thousand_of_them_gave():
    per_thousand = per_token(yield_reward)
    assert reward_name(per_thousand) == "yield_per_token" and stage_of(per_thousand) == "extracted"
    # Two pairs for 4,000 tokens, one for 500; what cost nothing cannot be said to pay.
    assert per_thousand(ROUND, arm_usage=USAGE) == pytest.approx([0.5, 2.0, None])


def test_a_reward_per_money_prices_both_kinds_of_token():
    paid = per_cost(yield_reward, prompt_price=1.0, completion_price=4.0)
    assert paid(ROUND, arm_usage=USAGE)[0] == pytest.approx(2 / (0.003 + 0.004))
    for prices in ((-1.0, 1.0), (0.0, 0.0)):
        with pytest.raises(ConfigError, match="prices"):
            per_cost(yield_reward, *prices)


def test_value_leaves_out_documents_that_were_lost():
    values = np.array([[1.0], [np.nan], [np.nan], [0.5]])
    assert value_reward(ROUND, document_values=values) == [1.0, None, 0.5]


def test_each_target_is_paid_from_its_own_reference():
    near, other = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    pairs = np.tile(near, (3, 1))
    names = [for_target(transport_reward, name, i, r) for i, (name, r) in enumerate({"x": near, "y": other}.items())]
    x, y = (f(ROUND, pair_embeddings=pairs, reference_embeddings=None)[0] for f in names)
    assert x > y
    assert [reward_name(f) for f in names] == ["transport_x", "transport_y"]
    values = np.array([[1.0, 5.0]] * 4)
    assert for_target(value_reward, "y", 1, other)(ROUND, document_values=values) == [5.0, 5.0, 5.0]
