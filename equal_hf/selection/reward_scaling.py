"""Rewards of different kinds on one scale, added up.

The unit is the spread between arms. A reward that has a prior (transport) is measured in standard deviations of that
prior over the arms: the unit is known before the first pull, and does not shrink as pulls concentrate on good arms,
which would put old and new rewards on different scales. Any other reward is divided by the running standard deviation
of its own values (1 until ten are in) and clipped to ±3. That deviation is about zero, the root mean square: a loss
that falls keeps its sign, and one that falls steadily, which hardly deviates from its own mean, comes out at about 1.

>>> scaler = RewardScaler({"transport": 1.0}, priors={"transport": np.array([0.25, 0.75])})
>>> scaler.mix({"transport": [1.0, None]})
[2.0, None]
>>> scaler.prior()
array([-1.,  1.])
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

CLIP = 3.0
VALUES_BEFORE_SCALING = 10


class RewardScaler:
    """Weighted sum of rewards on a common scale; a fold over the rounds.

    Args:
        weights (`Mapping[str, float]`): Weight of each reward by name.
        priors (`Mapping[str, np.ndarray]`, *optional*): For a reward with a prior, its values of shape `(k,)`.
    """

    def __init__(self, weights: Mapping[str, float], priors: Mapping[str, np.ndarray] | None = None) -> None:
        self.weights = dict(weights)
        self.priors = dict(priors or {})
        # Of every reward that has no prior: how many values it had, and the sum of their squares.
        self.moments = {name: (0, 0.0) for name in self.weights if name not in self.priors}

    def mix(self, rewards: Mapping[str, Sequence[float | None]]) -> list[float | None]:
        """One value an arm from the round's rewards by name; `None` for an arm without a reward.

        The values enter the running scale first, so a record replayed in order gives the same result.
        """
        length = max((len(values) for values in rewards.values()), default=0)
        mixed: list[float | None] = [None] * length
        for name, weight in self.weights.items():
            values = rewards.get(name)
            if values is None:
                continue
            self._observe(name, values)
            for i, value in enumerate(values):
                if value is not None and weight:
                    mixed[i] = (mixed[i] or 0.0) + weight * self._scaled(name, value)
        return mixed

    def prior(self, refreshed: Mapping[str, np.ndarray] | None = None) -> np.ndarray | None:
        """The arms' prior on the scale of [`mix`], or `None` where no reward has one.

        Args:
            refreshed (`Mapping[str, np.ndarray]`, *optional*): What a value model expects now of rewards that have a
                prior, shape `(k,)` each; the unit stays that of the prior.
        """
        return self.expected(self.priors | dict(refreshed or {}))

    def expected(self, values: Mapping[str, np.ndarray]) -> np.ndarray | None:
        """Expected values of rewards that have a prior, added up on the scale of [`mix`]; `None` where there are none.

        Args:
            values (`Mapping[str, np.ndarray]`): By reward, all of one shape; each must have a prior.
        """
        parts = [
            self.weights[name] * (value - self.priors[name].mean()) / self.spread(name)
            for name, value in values.items()
            if self.weights.get(name)
        ]
        return np.sum(parts, axis=0) if parts else None

    def spread(self, name: str) -> float:
        """The unit that a reward is measured in."""
        if name in self.priors:
            return float(self.priors[name].std()) or 1.0
        count, squares = self.moments[name]
        return math.sqrt(squares / count) or 1.0 if count >= VALUES_BEFORE_SCALING else 1.0

    def _scaled(self, name: str, value: float) -> float:
        if name in self.priors:
            return (value - float(self.priors[name].mean())) / self.spread(name)
        return min(max(value / self.spread(name), -CLIP), CLIP)

    def _observe(self, name: str, values: Sequence[float | None]) -> None:
        if name in self.priors:
            return
        known = [value for value in values if value is not None]
        count, squares = self.moments[name]
        self.moments[name] = (count + len(known), squares + sum(value * value for value in known))
