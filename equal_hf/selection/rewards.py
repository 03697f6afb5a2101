"""Reward functions: what a round's arms earned.

A reward function is a plain function `f(round, **context) -> list[float | None]` with one value per decision of the
round, in order; `None` means the arm has no reward. Its decorator [`known_at`] says when its value can be known:

- `"extracted"`: as soon as the round's pairs are there. Context: `pair_embeddings` (`np.ndarray` of shape
  `(pairs, d)`, row i belongs to `round.pairs[i]`), `pair_values` ([`RoundValues`], what the round's pairs are worth),
  `reference_embeddings` (`np.ndarray` of shape `(m, d)`),
  `pool_embeddings` (`np.ndarray` of shape `(p, d)`, pairs of earlier rounds, at most [`MAX_POOL_PAIRS`] of them),
  `earlier_embeddings` (`list[np.ndarray]`, the earlier pairs of each arm of the round), `document_values`
  (`np.ndarray` of shape `(documents, targets)`, in the order they were drawn; nan where a document was lost on the
  way) and `arm_usage` (`list[Usage]`, what each arm's documents used).
- `"evaluated"`: after the round was trained on and evaluated. Context: the same without documents and pool, and
  `eval_loss`, `previous_eval_loss` (`float | None`), `trained_rows` (`list[int]`, rows of this round's own pairs
  trained on, by arm), `loss_history` (`list[TrainedRound]`, this round last), `model`, `arm_batches` and
  `validation_batches`.

A function names the context it needs and takes the rest as `**context`. With several targets, one that is decorated
with `per_target=True` is called once for each, with that target's `reference_embeddings` and `document_values`, and is
recorded as `<reward>_<target>`.

>>> @known_at("extracted")
... def pairs_reward(round, **context):
...     return [float(len(pairs)) for pairs in round.pairs_by_arm()]
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from equal_hf.errors import ConfigError
from equal_hf.selection.optimal_transport import UNRELATED_COST, transport_costs
from equal_hf.types import Round, Usage

logger = logging.getLogger(__name__)

RewardFunction = Callable[..., list[float | None]]
Stage = Literal["extracted", "evaluated"]

# The paper subtracts 0.12 from 1 - OT so that rewards lie about zero.
TRANSPORT_OFFSET = 0.12
PER_TOKENS = 1_000

# What differs from target to target in the context.
_PER_TARGET = frozenset({"reference_embeddings", "document_values"})
# Names of earlier versions that a configuration may still hold.
_RENAMED = {
    "worth": "value",
    "worth_per_token": "value_per_token",
    "worth_per_cost": "value_per_cost",
    "loss_credit": "loss_attribution",
}


def current_reward_name(name: str) -> str:
    """The name that a reward has today; a name of an earlier version is replaced, with a warning.

    >>> current_reward_name("worth_per_token"), current_reward_name("yield")
    ('value_per_token', 'yield')
    """
    if name not in _RENAMED:
        return name
    logger.warning("The reward %r is called %r now", name, _RENAMED[name])
    return _RENAMED[name]


def known_at(stage: Stage, *, per_target: bool | None = None) -> Callable[[RewardFunction], RewardFunction]:
    """Declare when a reward function's value can be known, and whether it differs from target to target.

    Args:
        stage (`str`): `"extracted"` or `"evaluated"`.
        per_target (`bool`, *optional*): With several targets, whether it is called for each of them. Where left out,
            it is if the function names `reference_embeddings` or `document_values`.

    Raises:
        [`ConfigError`]: If there is no such stage, or the function asks for `document_worths`, an earlier name.
    """
    if stage not in ("extracted", "evaluated"):
        raise ConfigError(f"a reward cannot be known at {stage!r}: use known_at('extracted') or known_at('evaluated')")

    def mark(function: RewardFunction) -> RewardFunction:
        names = set(inspect.signature(function).parameters)
        if "document_worths" in names:
            raise ConfigError(
                f"reward function {reward_name(function)!r} asks for `document_worths`, which is called "
                "`document_values` now: rename the argument"
            )
        function.known_at = stage  # type: ignore[attr-defined]
        function.per_target = bool(names & _PER_TARGET) if per_target is None else per_target  # type: ignore[attr-defined]
        return function

    return mark


def stage_of(function: RewardFunction) -> Stage:
    """When a reward function's value is known.

    Raises:
        [`ConfigError`]: If it is not decorated with [`known_at`].
    """
    stage = getattr(function, "known_at", None)
    if stage is None:
        raise ConfigError(
            f"reward function {reward_name(function)!r} does not say when it is known: "
            "decorate it with @known_at('extracted') or @known_at('evaluated')"
        )
    return stage


def is_per_target(function: RewardFunction) -> bool:
    """Whether a reward function is called for each of several targets."""
    return getattr(function, "per_target", False)


def reward_name(function: RewardFunction) -> str:
    """The name under which a reward is recorded: the function's own, without a final `_reward`."""
    return getattr(function, "__name__", type(function).__name__).removesuffix("_reward")


# -- the rewards -----------------------------------------------------------------------------------------------------


@known_at("extracted", per_target=True)
def transport_reward(
    round: Round, *, pair_embeddings: np.ndarray, reference_embeddings: np.ndarray, **context: Any
) -> list[float | None]:
    """`1 - OT - 0.12` for each arm (arXiv 2505.12250): how near its pairs lie to the target's.

    An arm whose documents gave no pair counts as unrelated to the reference, so that it is left rather than tried
    again; an arm none of whose documents was extracted has no reward.
    """
    costs = transport_costs([pair_embeddings[arm] for arm in round.pairs_by_arm()], reference_embeddings)
    return transport_values(round, costs)


def transport_values(round: Round, costs: Sequence[float | None]) -> list[float | None]:
    """Transport costs of a round's arms, `None` for an arm without pairs, on the scale of [`transport_reward`]."""
    return [
        None if not decision.documents else 1.0 - (UNRELATED_COST if cost is None else cost) - TRANSPORT_OFFSET
        for decision, cost in zip(round.decisions, costs, strict=True)
    ]


@known_at("evaluated")
def loss_drop_reward(
    round: Round,
    *,
    eval_loss: float | None,
    previous_eval_loss: float | None,
    trained_rows: list[int],
    **context: Any,
) -> list[float | None]:
    """Relative drop of the evaluation loss over the round, for every arm whose pairs were trained on.

    One number cannot tell a round's arms apart: they share it. ([`loss_attribution_reward`] does, over rounds.)
    The drop is relative because losses fall more slowly as training goes on, whatever the data.
    """
    if eval_loss is None or previous_eval_loss is None or not previous_eval_loss:
        return [None] * len(round.decisions)
    drop = (previous_eval_loss - eval_loss) / abs(previous_eval_loss)  # negative where a rising metric is its loss
    return [drop if rows else None for rows in trained_rows]


@known_at("extracted", per_target=True)
def value_reward(round: Round, *, document_values: np.ndarray, **context: Any) -> list[float | None]:
    """Mean value of each arm's documents, as [`ValueModel`] counts it: near the target, pairs given, pairs near it.

    It is the reward that the value model predicts.
    """
    return per_document(round, document_values.sum(axis=1))


@known_at("extracted")
def yield_reward(round: Round, **context: Any) -> list[float | None]:
    """Pairs per document of each arm."""
    return [
        len(pairs) / len(decision.documents) if decision.documents else None
        for decision, pairs in zip(round.decisions, round.pairs_by_arm(), strict=True)
    ]


def per_document(round: Round, values: np.ndarray) -> list[float | None]:
    """Average over each arm's documents of values given in the order the documents were drawn; nan is left out."""
    ends = np.cumsum([len(decision.documents) for decision in round.decisions])
    parts = np.split(np.asarray(values, dtype=np.float64), ends[:-1]) if len(ends) else []
    known = [part[~np.isnan(part)] for part in parts]
    return [float(part.mean()) if len(part) else None for part in known]


def document_prior(samples: Sequence[np.ndarray], reference_embeddings: np.ndarray) -> np.ndarray:
    """Transport reward of each cluster's own documents: the prior of an arm before a call is spent on it.

    Args:
        samples (`Sequence[np.ndarray]`): For each cluster embeddings of some of its documents, shape `(n_i, d)`.
        reference_embeddings (`np.ndarray` of shape `(m, d)`): The target's reference set.

    Returns:
        `np.ndarray` of shape `(k,)`: On the scale of [`transport_reward`].
    """
    costs = transport_costs(samples, reference_embeddings)
    return np.array([1.0 - (UNRELATED_COST if cost is None else cost) - TRANSPORT_OFFSET for cost in costs])


# -- rewards made from rewards ---------------------------------------------------------------------------------------


def per_token(function: RewardFunction) -> RewardFunction:
    """The same reward for each 1,000 tokens that a document of the arm used, in prompts and completions.

    For rewards per document whose zero means nothing gained, such as yield and value; transport lies about 0 for other
    reasons.

    >>> reward_name(per_token(yield_reward))
    'yield_per_token'
    """
    return _divided(function, "per_token", 1.0 / PER_TOKENS, 1.0 / PER_TOKENS)


def per_cost(function: RewardFunction, prompt_price: float, completion_price: float) -> RewardFunction:
    """The same reward for each unit of money that a document of the arm cost.

    Args:
        function (`RewardFunction`): A reward per document whose zero means nothing gained.
        prompt_price, completion_price (`float`): Prices of a million tokens.

    Raises:
        [`ConfigError`]: If a price is below 0, or both are 0.
    """
    if min(prompt_price, completion_price) < 0 or not prompt_price + completion_price > 0:
        raise ConfigError(
            f"`prompt_price` is {prompt_price} and `completion_price` is {completion_price}: give prices of a million "
            "tokens, not both 0"
        )
    return _divided(function, "per_cost", prompt_price / 1e6, completion_price / 1e6)


def _divided(function: RewardFunction, suffix: str, prompt: float, completion: float) -> RewardFunction:
    @known_at(stage_of(function), per_target=is_per_target(function))
    @functools.wraps(function)
    def reward(round: Round, *, arm_usage: list[Usage], **context: Any) -> list[float | None]:
        values = function(round, arm_usage=arm_usage, **context)
        costs = [prompt * usage.prompt_tokens + completion * usage.completion_tokens for usage in arm_usage]
        return [
            None if value is None or cost <= 0 else value * len(decision.documents) / cost
            for value, cost, decision in zip(values, costs, round.decisions, strict=True)
        ]

    reward.__name__ = f"{reward_name(function)}_{suffix}_reward"
    return reward
