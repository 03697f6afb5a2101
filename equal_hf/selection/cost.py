"""What a reward costs: reward functions paid per token or per unit of money, and several targets' side by side.

>>> from equal_hf.selection.rewards import reward_name, yield_reward
>>> reward_name(per_token(yield_reward))
'yield_per_token'
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from equal_hf.errors import ConfigError
from equal_hf.selection.rewards import RewardFunction, known_at, reward_name, stage_of
from equal_hf.types import Round, Usage

PER_TOKENS = 1_000


def per_token(function: RewardFunction) -> RewardFunction:
    """The same reward for each 1,000 tokens that a document of the arm used, in prompts and completions.

    For rewards per document that are worth nothing at 0, such as yield and worth; transport lies about 0 for other
    reasons.
    """
    return _divided(function, "per_token", 1.0 / PER_TOKENS, 1.0 / PER_TOKENS)


def per_cost(function: RewardFunction, prompt_price: float, completion_price: float) -> RewardFunction:
    """The same reward for each unit of money that a document of the arm cost.

    Args:
        function (`RewardFunction`): A reward per document that is worth nothing at 0.
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
    @known_at(stage_of(function))
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


def for_target(function: RewardFunction, name: str, place: int, reference_embeddings: np.ndarray) -> RewardFunction:
    """The same reward for one of several targets, reported under `<reward>_<name>`.

    Args:
        function (`RewardFunction`): A reward that looks at the reference or at what documents are worth for it.
        name (`str`): The target's name.
        place (`int`): Its place among the targets.
        reference_embeddings (`np.ndarray` of shape `(m, d)`): Its reference set.

    >>> from equal_hf.selection.rewards import transport_reward
    >>> reward_name(for_target(transport_reward, "math", 1, np.eye(2)))
    'transport_math'
    """

    @known_at(stage_of(function))
    @functools.wraps(function)
    def reward(round: Round, **context: Any) -> list[float | None]:
        context["reference_embeddings"] = reference_embeddings
        if "document_values" in context:
            context["document_values"] = context["document_values"][:, place : place + 1]
        return function(round, **context)

    reward.__name__ = f"{reward_name(function)}_{name}_reward"
    return reward
