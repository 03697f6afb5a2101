"""What [`influence_reward`] looks at: a few rows of each arm, and of the validation set that pays."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

INFLUENCE_ROWS, VALIDATION_ROWS = 8, 32  # of each arm, and of the validation sets together


def influence_batches(
    arm_rows: Sequence[Sequence[dict[str, Any]]],
    validation: Sequence[tuple[Any, int]],
    batch: Callable[[Sequence[dict[str, Any]]], dict[str, Any]],
) -> dict[str, Any]:
    """Batches for the reward function, by the names of its arguments.

    Args:
        arm_rows (`Sequence[Sequence[dict]]`): Tokenized rows of each arm, [`INFLUENCE_ROWS`] at most.
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
