"""What influence looks at: rows of each arm or a sample of a round's pairs, and of the validation set that pays."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from equal_hf.selection.experimental.influence import agreement

INFLUENCE_ROWS, VALIDATION_ROWS = 8, 32  # of each arm, and of the validation sets together
INFLUENCE_PAIRS = 64  # of a round
# Validation rows of one gradient: so many gradients span what pairs are compared on.
ROWS_A_GRADIENT = 4


def rows_by_arm(rows: Sequence[dict[str, Any]], arms: Sequence[int | None], count: int) -> list[list[dict[str, Any]]]:
    """The first rows of each arm, [`INFLUENCE_ROWS`] at most.

    Args:
        rows (`Sequence[dict]`): Tokenized rows of a round; `row` is their index among all.
        arms (`Sequence[int | None]`): The arm of each row of the round; `None` for replay.
        count (`int`): How many arms the round pulled.
    """
    return [[row for row in rows if arms[row["row"]] == arm][:INFLUENCE_ROWS] for arm in range(count)]


def rows_by_pair(rows: Sequence[dict[str, Any]], pairs: Sequence[int | None]) -> dict[int, dict[str, Any]]:
    """A row of each of the round's first pairs, [`INFLUENCE_PAIRS`] at most, by the pair's position in the round.

    Args:
        rows (`Sequence[dict]`): As of [`rows_by_arm`].
        pairs (`Sequence[int | None]`): The pair of each row of the round; `None` for replay.

    >>> rows_by_pair([{"row": 0}, {"row": 2}], [7, 5, None])
    {7: {'row': 0}}
    """
    own = [(place, row) for row in rows if (place := pairs[row["row"]]) is not None]
    return dict(own[:INFLUENCE_PAIRS])


def influence_batches(
    arm_rows: Sequence[Sequence[dict[str, Any]]],
    validation: Sequence[tuple[Any, int]],
    batch: Callable[[Sequence[dict[str, Any]]], dict[str, Any]],
) -> dict[str, Any]:
    """Batches for the reward function, by the names of its arguments.

    Args:
        arm_rows (`Sequence[Sequence[dict]]`): From [`rows_by_arm`].
        validation (`Sequence[tuple[Dataset, int]]`): From [`rewarding_sets`].
        batch (`Callable`): Collates rows into tensors on the model's device.
    """
    rows = [dataset[index] for dataset, count in validation for index in range(min(len(dataset), count))]
    return {
        "arm_batches": [batch(chosen) if chosen else None for chosen in arm_rows],
        "validation_batches": [
            batch(rows[start : start + INFLUENCE_ROWS]) for start in range(0, len(rows), INFLUENCE_ROWS)
        ],
    }


def pair_influence(
    model: Any,
    rows: Mapping[int, dict[str, Any]],
    validation: Sequence[tuple[Any, int]],
    batch: Callable[[Sequence[dict[str, Any]]], dict[str, Any]],
) -> dict[int, float]:
    """Influence of pairs on the validation sets: agreement of their gradients, projected on what these span.

    Args:
        model (`nn.Module`): The model in training, as it is after the round.
        rows (`Mapping[int, dict]`): From [`rows_by_pair`].
        validation (`Sequence[tuple[Dataset, int]]`): From [`rewarding_sets`].
        batch (`Callable`): As for [`influence_batches`].
    """
    wanted = [dataset[index] for dataset, count in validation for index in range(min(len(dataset), count))]
    parts = [wanted[start : start + ROWS_A_GRADIENT] for start in range(0, len(wanted), ROWS_A_GRADIENT)]
    values = agreement(model, [batch([row]) for row in rows.values()], [batch(part) for part in parts], projected=True)
    return {position: value for position, value in zip(rows, values, strict=True) if value is not None}


def rewarding_sets(sets: Any, metric: str, shares: Mapping[str, float]) -> list[tuple[Any, int]]:
    """The validation sets that `reward_metric` is about, and how many rows of each are looked at.

    Args:
        sets (`Dataset` or `dict[str, Dataset]`): The trainer's evaluation sets.
        metric (`str`): `reward_metric`.
        shares (`Mapping[str, float]`): Weight of each target, of several.
    """
    if not isinstance(sets, dict):
        return [(sets, VALIDATION_ROWS)]
    if (named := metric.removeprefix("eval_").removesuffix("_loss")) in sets:
        return [(sets[named], VALIDATION_ROWS)]
    return [(rows, math.ceil(shares[name] * VALIDATION_ROWS)) for name, rows in sets.items()]
