"""Counts and mean residuals of every arm.

Policies that estimate every arm by itself share this: an arm's estimate is its expected reward plus its average
residual (reward less expectation), shrunk towards the residual of arms in general while the arm has few rewards.

>>> statistics = ArmStatistics(2, prior=np.array([1.0, 0.0]), prior_weight=1.0)
>>> statistics.update([0], [0.0])
>>> statistics.estimate()[0].round(2).tolist()
[0.45, -0.09]
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from equal_hf.selection.neighbours import Neighbours

SHIFT_ARMS = 10


class ArmStatistics:
    """Counts and residuals of every arm.

    The expected reward of an arm counts as `prior_weight` rewards, so its weight fades as rewards come in. Documents
    and pairs are different kinds of text and may lie at different distances from the reference; so a prior, which does
    not change, is shifted by the average residual of the arms with rewards so far. That average counts [`SHIFT_ARMS`]
    further arms with a residual of 0, since a few arms may just be worse than they look. A [`ValueModel`] learns the
    difference itself.

    Args:
        n_arms (`int`): Arms.
        prior (`np.ndarray` of shape `(k,)`, *optional*): Reward expected of every arm before it is pulled.
        neighbours ([`Neighbours`], *optional*): Arms that share a residual, each by its weight.
        prior_weight (`float`, *optional*, defaults to `0.0`): How many rewards an expectation counts for; 0: none, and
            an arm without a reward is unknown.
        discount (`float`, *optional*, defaults to `1.0`): Factor on earlier rewards at every update; below 1 for
            rewards that drift.
    """

    def __init__(
        self,
        n_arms: int,
        prior: np.ndarray | None = None,
        neighbours: Neighbours | None = None,
        *,
        prior_weight: float = 0.0,
        discount: float = 1.0,
    ) -> None:
        self.prior_weight, self.discount, self.neighbours = prior_weight, discount, neighbours
        self.prior = None if prior is None or prior_weight <= 0 else np.asarray(prior, dtype=np.float64)
        self.counts = np.zeros(n_arms)
        self.sums = np.zeros(n_arms)  # of residuals; of rewards where nothing was expected
        self.pulls = np.zeros(n_arms)  # rewards of an arm's own, its neighbours' left out
        self.own = np.zeros(n_arms)  # residuals of an arm's own

    def update(
        self, arms: Sequence[int], rewards: Sequence[float | None], expected: Sequence[float] | None = None
    ) -> None:
        """Add a round's rewards.

        Args:
            arms (`Sequence[int]`): The arms pulled.
            rewards (`Sequence[float | None]`): Their rewards; `None` is left out.
            expected (`Sequence[float]`, *optional*): Reward expected of each when it was pulled; else the prior.
        """
        if self.discount < 1:
            for values in (self.counts, self.sums, self.pulls, self.own):
                values *= self.discount
        for i, (arm, reward) in enumerate(zip(arms, rewards, strict=True)):
            if reward is None:
                continue
            residual = reward - self._expected(arm, None if expected is None else expected[i])
            self.pulls[arm] += 1
            self.own[arm] += residual
            self.counts[arm] += 1
            self.sums[arm] += residual
            if self.neighbours is not None:
                sharing, weights = self.neighbours.of(arm)
                self.counts[sharing] += weights
                self.sums[sharing] += weights * residual

    def _expected(self, arm: int, expected: float | None) -> float:
        if self.prior_weight <= 0:
            return 0.0
        if expected is not None:
            return float(expected)
        return 0.0 if self.prior is None else float(self.prior[arm])

    def estimate(self, expected: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Estimated reward of every arm, and how many rewards it rests on.

        Args:
            expected (`np.ndarray` of shape `(k,)`, *optional*): Reward expected of the arms now; else the prior.

        Returns:
            `tuple[np.ndarray, np.ndarray]`, each of shape `(k,)`: An arm about which nothing is known has an infinite
            estimate and weight 0.
        """
        base = self.prior if expected is None or self.prior_weight <= 0 else expected
        if base is None:
            known = self.counts > 0
            return np.where(known, self.sums / np.where(known, self.counts, 1.0), np.inf), self.counts
        weights = self.counts + self.prior_weight
        # Where the expectation is a value model's, it has learned by itself how pairs differ from documents.
        shift = 0.0 if expected is not None else self._shift()
        return base + (self.prior_weight * shift + self.sums) / weights, weights

    def _shift(self) -> float:
        pulled = self.pulls > 0
        return float((self.own[pulled] / self.pulls[pulled]).sum() / (pulled.sum() + SHIFT_ARMS))
