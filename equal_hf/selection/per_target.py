"""Rewards of a run with several targets: one reward function a target, weighted by the target's share.

>>> from equal_hf.selection.rewards import transport_reward, yield_reward
>>> references, shares = {"math": np.eye(2), "proofs": np.eye(2)}, {"math": 0.75, "proofs": 0.25}
>>> weighted_rewards([transport_reward, yield_reward], [2.0, 1.0], references, shares)[1]
{'transport_math': 1.5, 'transport_proofs': 0.5, 'yield': 1.0}
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from equal_hf.errors import ConfigError
from equal_hf.selection.rewards import RewardFunction, is_per_target, known_at, reward_name, stage_of
from equal_hf.types import Round


def for_target(function: RewardFunction, name: str, index: int, reference_embeddings: np.ndarray) -> RewardFunction:
    """The same reward for one of several targets, recorded as `<reward>_<name>`.

    Args:
        function (`RewardFunction`): A reward that differs from target to target.
        name (`str`): The target's name.
        index (`int`): Its position among the targets.
        reference_embeddings (`np.ndarray` of shape `(m, d)`): Its reference set.
    """

    @known_at(stage_of(function), per_target=False)
    @functools.wraps(function)
    def reward(round: Round, **context: Any) -> list[float | None]:
        context["reference_embeddings"] = reference_embeddings
        if "document_values" in context:
            context["document_values"] = context["document_values"][:, index : index + 1]
        return function(round, **context)

    reward.__name__ = f"{reward_name(function)}_{name}_reward"
    return reward


def weighted_rewards(
    functions: Sequence[RewardFunction],
    weights: Sequence[float] | None,
    references: Mapping[str, np.ndarray],
    shares: Mapping[str, float],
) -> tuple[dict[str, RewardFunction], dict[str, float]]:
    """Reward functions and their weights by name; with several targets, those per target split with their weight.

    Args:
        functions (`Sequence[RewardFunction]`): The reward functions.
        weights (`Sequence[float]`, *optional*): One each; all 1 where left out.
        references (`Mapping[str, np.ndarray]`): Reference embeddings of each target by name, shape `(m, d)`.
        shares (`Mapping[str, float]`): The share of each target.

    Raises:
        [`ConfigError`]: If two rewards have one name, or weights do not fit.
    """
    if weights is not None and len(weights) != len(functions):
        raise ConfigError(
            f"`reward_weights` has {len(weights)} values for {len(functions)} reward functions: give one each"
        )
    by_name: dict[str, RewardFunction] = {}
    weight_of: dict[str, float] = {}
    for function, weight in zip(functions, weights or [1.0] * len(functions), strict=True):
        parts = [(function, weight)]
        if len(references) > 1 and is_per_target(function):
            parts = [
                (for_target(function, target, index, reference), weight * shares[target])
                for index, (target, reference) in enumerate(references.items())
            ]
        for part, share in parts:
            name = reward_name(part)
            if name in by_name:
                raise ConfigError(f"two reward functions are called {name!r}: rename one, records are kept by name")
            by_name[name], weight_of[name] = part, share
    return by_name, weight_of
