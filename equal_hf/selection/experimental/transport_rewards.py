"""Transport rewards that correct the plain one for small yields, few pairs a round, and near-copies.

Measured, none differs from it by more than the spread (`experimental/__init__.py` has the table).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from equal_hf.selection.optimal_transport import excess_cost, marginal_gains, transport_costs
from equal_hf.selection.pair_sample import MAX_EARLIER_PAIRS
from equal_hf.selection.rewards import known_at, transport_values
from equal_hf.types import Round


@known_at("extracted", per_target=True)
def debiased_transport_reward(
    round: Round, *, pair_embeddings: np.ndarray, reference_embeddings: np.ndarray, **context: Any
) -> list[float | None]:
    """Transport reward without its bias against small yields: cost less what as many reference items would cost."""
    groups = [pair_embeddings[arm] for arm in round.pairs_by_arm()]
    costs = [excess_cost(group, reference_embeddings) if len(group) else None for group in groups]
    return transport_values(round, costs)


@known_at("extracted", per_target=True)
def pooled_transport_reward(
    round: Round,
    *,
    pair_embeddings: np.ndarray,
    reference_embeddings: np.ndarray,
    earlier_embeddings: Sequence[np.ndarray],
    **context: Any,
) -> list[float | None]:
    """Transport reward of all an arm's pairs so far, the latest 300 of them, rather than of this round's few."""
    groups = [
        np.concatenate([earlier, pair_embeddings[arm]])[-MAX_EARLIER_PAIRS:]
        for earlier, arm in zip(earlier_embeddings, round.pairs_by_arm(), strict=True)
    ]
    return transport_values(round, transport_costs(groups, reference_embeddings))


@known_at("extracted", per_target=True)
def marginal_transport_reward(
    round: Round,
    *,
    pair_embeddings: np.ndarray,
    reference_embeddings: np.ndarray,
    pool_embeddings: np.ndarray,
    **context: Any,
) -> list[float | None]:
    """How fast each arm's pairs bring the pool nearer to the target, on average over them.

    The pool is the earlier pairs and this round's. What it holds enough of already adds nothing, so near-copies stop
    paying. An arm without pairs gets 0, and an arm whose pairs lead away less than that.
    """
    pool = np.concatenate([pool_embeddings, pair_embeddings]) if len(pool_embeddings) else pair_embeddings
    if not len(pool):
        return [0.0 if decision.documents else None for decision in round.decisions]
    gains = marginal_gains(pair_embeddings, pool, reference_embeddings) if len(pair_embeddings) else np.zeros(0)
    return [
        None if not decision.documents else float(gains[arm].mean()) if arm else 0.0
        for decision, arm in zip(round.decisions, round.pairs_by_arm(), strict=True)
    ]
