"""What arms have earned so far, against what was expected of them.

Policies that estimate every arm by itself share this: an arm's estimate is what is expected of it plus its average
surprise (reward less expectation), shrunk towards the surprise of arms in general while the arm has few rewards.

>>> evidence = Evidence(2, prior=np.array([1.0, 0.0]), prior_weight=1.0)
>>> evidence.credit([0], [0.0])
>>> evidence.estimate()[0].round(2).tolist()
[0.45, -0.09]
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from equal_hf.selection.neighbours import Neighbours

SHIFT_ARMS = 10


class Evidence:
    """Counts and surprises of every arm.

    What is expected of an arm counts as `prior_weight` rewards, so its say fades as rewards come in. Documents and
    pairs are different kinds of text and may sit at different distances from the reference; so a prior, which stays as
    it was, is shifted by the average surprise of the arms credited so far, an average that counts [`SHIFT_ARMS`]
    further arms without a surprise, since a few arms may just be worse than they look. A promise learns that itself.

    Args:
        n_arms (`int`): Arms.
        prior (`np.ndarray` of shape `(k,)`, *optional*): What is expected of every arm before it is pulled.
        neighbours ([`Neighbours`], *optional*): Arms that share a surprise, each by its weight.
        prior_weight (`float`, *optional*, defaults to `0.0`): How many rewards an expectation counts for; 0: none, and
            an arm without a reward is unknown.
        discount (`float`, *optional*, defaults to `1.0`): Weight that evidence keeps from one credited round to the
            next; below 1 for rewards that drift.
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
        self.sums = np.zeros(n_arms)  # of surprises; of rewards where nothing was expected
        self.pulls = np.zeros(n_arms)  # rewards of an arm's own, its neighbours' left out
        self.own = np.zeros(n_arms)  # surprises of an arm's own

    def credit(
        self, arms: Sequence[int], rewards: Sequence[float | None], promised: Sequence[float] | None = None
    ) -> None:
        """Take in a round's rewards; `None` is no evidence.

        Args:
            arms (`Sequence[int]`): The arms pulled.
            rewards (`Sequence[float | None]`): Their rewards.
            promised (`Sequence[float]`, *optional*): What was expected of each when it was pulled; the prior where it
                is left out.
        """
        if self.discount < 1:
            for kept in (self.counts, self.sums, self.pulls, self.own):
                kept *= self.discount
        for place, (arm, reward) in enumerate(zip(arms, rewards, strict=True)):
            if reward is None:
                continue
            surprise = reward - self._expected(arm, None if promised is None else promised[place])
            self.pulls[arm] += 1
            self.own[arm] += surprise
            self.counts[arm] += 1
            self.sums[arm] += surprise
            if self.neighbours is not None:
                sharing, weights = self.neighbours.of(arm)
                self.counts[sharing] += weights
                self.sums[sharing] += weights * surprise

    def _expected(self, arm: int, promised: float | None) -> float:
        if self.prior_weight <= 0:
            return 0.0
        if promised is not None:
            return float(promised)
        return 0.0 if self.prior is None else float(self.prior[arm])

    def estimate(self, promise: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Estimated reward of every arm, and how many rewards stand behind it.

        Args:
            promise (`np.ndarray` of shape `(k,)`, *optional*): What is expected of the arms now; the prior where it is
                left out.

        Returns:
            `tuple[np.ndarray, np.ndarray]`, each of shape `(k,)`: An arm about which nothing is known has an infinite
            estimate and weight 0.
        """
        expected = self.prior if promise is None or self.prior_weight <= 0 else promise
        if expected is None:
            known = self.counts > 0
            return np.where(known, self.sums / np.where(known, self.counts, 1.0), np.inf), self.counts
        weights = self.counts + self.prior_weight
        return expected + (self.prior_weight * self._shift(promise) + self.sums) / weights, weights

    def _shift(self, promise: np.ndarray | None) -> float:
        if promise is not None:
            return 0.0  # it learns by itself how pairs differ from documents
        seen = self.pulls > 0
        return float((self.own[seen] / self.pulls[seen]).sum() / (seen.sum() + SHIFT_ARMS))
