"""What a pair is worth to the targets: functions from a round's pairs to numbers from 0 to 1.

A pair value function is a plain function `f(round, **context) -> np.ndarray` of shape `(pairs, targets)`, nan where it
says nothing of a pair. Context: `pair_embeddings` (`np.ndarray` of shape `(pairs, d)`) and `similarity`
([`TargetSimilarity`]). [`PairValues`] mixes them, and adds what is learned from many rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from equal_hf.errors import ConfigError
from equal_hf.selection.target_similarity import TargetSimilarity
from equal_hf.types import Round

PairValueFunction = Callable[..., np.ndarray]

MAX_GRADE = 3


def nearness_value(
    round: Round, *, pair_embeddings: np.ndarray, similarity: TargetSimilarity, **context: Any
) -> np.ndarray:
    """How much nearer to the mean reference a pair lies than documents do: 0 at their median or below, 1 above all."""
    return _upper_half(similarity.to_mean(pair_embeddings))


def nearest_value(
    round: Round, *, pair_embeddings: np.ndarray, similarity: TargetSimilarity, **context: Any
) -> np.ndarray:
    """The same by the five reference items that lie nearest, for a target of several kinds."""
    return _upper_half(similarity.to_nearest(pair_embeddings))


def grade_value(round: Round, **context: Any) -> np.ndarray:
    """The grade that the extracting model gave, of three; the same for every target, since the model sees items of
    all of them. nan for a pair without a grade."""
    grades = [np.nan if pair.grade is None else pair.grade / MAX_GRADE for pair in round.pairs]
    return np.array(grades, dtype=np.float64)[:, None]


def influence_value(round: Round, **context: Any) -> np.ndarray:
    """How a pair pulls the model in training towards the validation set, by the agreement of their gradients; 0 where
    they disagree. nan here: it is known once the round was trained on, of a sample ([`PairValues.learn`])."""
    return np.full((len(round.pairs), 1), np.nan)


def late_values(round: Round, context: Mapping[str, Any]) -> dict[str, list[float | None]]:
    """Values that are known once a round was trained on, by function: one a pair, `None` where there is none.

    Args:
        round ([`Round`]): The round.
        context (`Mapping[str, Any]`): What its rewards are recorded with: `pair_influence`, agreements from -1 to 1 by
            a pair's position.
    """
    told: Mapping[int, float] | None = context.get("pair_influence")
    if told is None:
        return {}
    known = {place: max(0.0, float(value)) for place, value in told.items() if np.isfinite(value)}
    return {"influence": [known.get(place) for place in range(len(round.pairs))]}


def _upper_half(ranks: np.ndarray) -> np.ndarray:
    return np.clip(2.0 * ranks - 1.0, 0.0, None)


PAIR_VALUES: dict[str, PairValueFunction] = {
    "nearness": nearness_value,
    "nearest": nearest_value,
    "likeness": nearest_value,  # times the form, which [`PairValues`] learns
    "grade": grade_value,
    "influence": influence_value,
}
FORMED = "likeness"
FALLBACKS = ("likeness", "nearness")  # the first that is named, else the last, counts as far as the others do not
JUDGED = frozenset({"grade"})  # count as far as they are reliable
DEFAULT_PAIR_VALUES = ("likeness", "grade")
# What a function counts where no weights are given: the model that read the document judges better than likeness.
DEFAULT_WEIGHTS = {"grade": 4.0}


def check_pair_values(functions: Sequence[str], weights: Sequence[float] | None) -> None:
    """Refuse functions and weights that cannot be used.

    Raises:
        [`ConfigError`]: If a function is unknown or named twice, or the weights do not fit.
    """
    if unknown := [name for name in functions if name not in PAIR_VALUES]:
        raise ConfigError(f"`pair_values` names {', '.join(unknown)}: choose from {', '.join(PAIR_VALUES)}")
    if not functions or len(set(functions)) != len(functions):
        raise ConfigError(f"`pair_values` is {list(functions)}: name each function once, and one at least")
    if weights is None:
        return
    if len(weights) != len(functions):
        raise ConfigError(
            f"`pair_value_weights` has {len(weights)} values for {len(functions)} functions "
            f"({', '.join(functions)}): give one each"
        )
    if not all(np.isfinite(weights)) or min(weights) < 0 or not sum(weights) > 0:
        raise ConfigError(f"`pair_value_weights` is {list(weights)}: give numbers of 0 or more, and not all 0")


def weighted_pair_values(functions: Sequence[str], weights: Sequence[float] | None) -> dict[str, float]:
    """The weight of each function: as given, else 4 for grades and 1 for the others."""
    usual = [DEFAULT_WEIGHTS.get(name, 1.0) for name in functions]
    return dict(zip(functions, usual if weights is None else weights, strict=True))
