"""Linear upper confidence bound: clusters that lie near each other share evidence.

>>> bandit = LinUCB(alpha=0.0)
>>> bandit.start(3, features=np.array([[1.0], [0.9], [-1.0]]))
>>> bandit.update([0], [1.0])
>>> [pull.arm for pull in bandit.select(3, 1, np.array([5, 5, 5]), np.random.default_rng(0))]
[0, 1, 2]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from equal_hf.errors import ConfigError
from equal_hf.selection.bandits import Pull, best_pulls, check_discount
from equal_hf.selection.neighbours import Neighbours

MAX_FEATURES = 32


class LinUCB:
    """LinUCB over cluster features (Li et al. 2010, arXiv 1003.0146).

    One ridge regression over all arms says how far rewards lie from what was expected, by where the clusters lie:
    `score_i = expected_i + x_i θ + alpha * sqrt(x_iᵀ A⁻¹ x_i)`. A good arm lifts its surroundings at once, a barren
    one warns of them; what is particular to an arm is not learned.

    Args:
        alpha (`float`, *optional*, defaults to `0.1`): Weight of the exploration term, in units of the reward.
        ridge (`float`, *optional*, defaults to `1.0`): Strength of the pull towards no surprise.
        discount (`float`, *optional*, defaults to `1.0`): Weight that evidence keeps from round to round, for rewards
            that drift.
    """

    neighbour_radius, neighbours = 0.0, "bures"

    def __init__(self, alpha: float = 0.1, ridge: float = 1.0, discount: float = 1.0) -> None:
        check_discount(discount)
        if ridge <= 0:
            raise ConfigError(f"`ridge` is {ridge}: set it above 0")
        self.alpha, self.ridge, self.discount = alpha, ridge, discount

    def identity(self) -> dict[str, Any]:
        """The settings that decide what it selects."""
        return {"policy": "linucb", "alpha": self.alpha, "ridge": self.ridge, "discount": self.discount}

    def start(
        self,
        n_arms: int,
        prior: np.ndarray | None = None,
        neighbours: Neighbours | None = None,
        features: np.ndarray | None = None,
    ) -> None:
        """Forget everything and stand before the first pull.

        Raises:
            [`ConfigError`]: Without features, or with more than 32 of them.
        """
        if features is None or not 1 <= features.shape[1] <= MAX_FEATURES:
            given = "none" if features is None else str(features.shape[1])
            raise ConfigError(
                f"LinUCB needs 1 to {MAX_FEATURES} features a cluster and got {given}: pass the clusters' means in "
                "their principal directions"
            )
        centred = features - features.mean(axis=0)
        # One scale for all directions: the larger ones, which tell more, keep more say.
        scale = np.sqrt((centred**2).sum(axis=1).mean()) or 1.0
        self.x = np.concatenate([np.ones((n_arms, 1)), centred / scale], axis=1).astype(np.float32)
        self.prior = np.zeros(n_arms) if prior is None else np.asarray(prior, dtype=np.float64)
        self.gram = np.zeros((self.x.shape[1], self.x.shape[1]))
        self.moment = np.zeros(self.x.shape[1])

    def update(
        self,
        arms: Sequence[int],
        rewards: Sequence[float | None],
        promised: Sequence[float] | None = None,
        scores: Sequence[float] | None = None,
    ) -> None:
        """Credit arms with rewards; `None` is no evidence."""
        self.gram *= self.discount
        self.moment *= self.discount
        expected = self.prior[list(arms)] if promised is None else np.asarray(promised)
        for arm, reward, hope in zip(arms, rewards, expected, strict=True):
            if reward is not None:
                row = self.x[arm].astype(np.float64)
                self.gram += np.outer(row, row)
                self.moment += row * (reward - hope)

    def scores(self, promise: np.ndarray | None = None) -> np.ndarray:
        """Score of every arm, shape `(k,)`."""
        inverse = np.linalg.inv(self.gram + self.ridge * np.eye(len(self.moment)))
        width = np.sqrt(np.einsum("ij,ij->i", self.x @ inverse.astype(np.float32), self.x))
        expected = self.prior if promise is None else promise
        return expected + self.x @ (inverse @ self.moment).astype(np.float32) + self.alpha * width

    def select(
        self,
        arms: int,
        documents: int,
        remaining: np.ndarray,
        rng: np.random.Generator,
        promise: np.ndarray | None = None,
    ) -> list[Pull]:
        """The best-scored arms that have documents left, best first; ties in an order drawn from `rng`."""
        return best_pulls(self.scores(promise), arms, documents, remaining, rng)
