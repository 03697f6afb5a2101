"""What each of several targets counts.

>>> shares = target_shares(["gsm8k", "math"], [3.0, 1.0])
>>> shares, weighted_mean({"gsm8k": 2.0, "math": 4.0}, shares)
({'gsm8k': 0.75, 'math': 0.25}, 2.5)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from equal_hf.errors import ConfigError


def target_shares(names: Iterable[str], weights: Sequence[float] | Mapping[str, float] | None) -> dict[str, float]:
    """Weights of the targets, made to add up to 1.

    Args:
        names (`Iterable[str]`): The targets.
        weights (`Sequence[float]` or `Mapping[str, float]`, *optional*): One each, in the same order or by name; the
            same where left out.

    Raises:
        [`ConfigError`]: If they do not fit the targets, one is below 0, or all are 0.
    """
    names = list(names)
    if weights is not None and not isinstance(weights, Mapping):
        if len(weights) != len(names):
            raise ConfigError(
                f"`target_weights` has {len(weights)} values for {len(names)} targets ({', '.join(names)}): "
                "give one each"
            )
        weights = dict(zip(names, weights, strict=True))
    given = dict.fromkeys(names, 1.0) | dict(weights or {})
    if set(given) != set(names) or min(given.values()) < 0 or not sum(given.values()) > 0:
        raise ConfigError(
            f"`target_weights` is {dict(weights or {})} for the targets {', '.join(names)}: give each of them a "
            "weight, none below 0 and not all 0"
        )
    return {name: given[name] / sum(given.values()) for name in names}


def weighted_mean(values: Mapping[str, float], shares: Mapping[str, float]) -> float:
    """Mean over the targets that have a value, by their shares; a plain mean where all of these count nothing.

    Args:
        values (`Mapping[str, float]`): A value for one target at least.
        shares (`Mapping[str, float]`): What each target counts.

    >>> weighted_mean({"math": 4.0}, {"gsm8k": 0.75, "math": 0.25})
    4.0
    """
    weights = {name: shares[name] for name in values}
    total = sum(weights.values())
    if not total > 0:
        return sum(values.values()) / len(values)
    return sum(weights[name] * value for name, value in values.items()) / total
