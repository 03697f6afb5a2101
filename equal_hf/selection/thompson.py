"""Thompson sampling over clusters, with Gaussian rewards.

>>> bandit = Thompson(noise=0.0)
>>> bandit.start(3, prior=np.array([0.1, 0.5, 0.3]))
>>> [pull.arm for pull in bandit.select(2, 10, np.array([50, 50, 50]), np.random.default_rng(0))]
[1, 2]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from equal_hf.selection.arm_statistics import Evidence
from equal_hf.selection.bandits import Pull, best_pulls, check_discount
from equal_hf.selection.neighbours import Neighbours, check_neighbours


class Thompson:
    """Pulls the arms that are best in one draw from what may be true of them (Thompson 1933).

    What may be true of an arm is a Gaussian about its estimate, of standard deviation `noise / sqrt(T_i)`, where `T_i`
    counts its rewards and what the prior counts for. A batch of arms is one draw, so its arms differ without any
    further rule, however late rewards arrive.

    Args:
        noise (`float`, *optional*, defaults to `0.3`): Standard deviation of one reward about its arm's mean, in units
            of the reward.
        prior_weight (`float`, *optional*, defaults to `10.0`): How many rewards the prior counts for.
        neighbour_radius (`float`, *optional*, defaults to `0.0`): Distance within which clusters share rewards; 0
            shares nothing.
        discount (`float`, *optional*, defaults to `1.0`): Weight that evidence keeps from round to round, for rewards
            that drift.
        neighbours (`str`, *optional*, defaults to `"bures"`): How clusters share: `"bures"` or `"centroid"`, as for
            [`UCB`].
    """

    def __init__(
        self,
        noise: float = 0.3,
        prior_weight: float = 10.0,
        neighbour_radius: float = 0.0,
        discount: float = 1.0,
        neighbours: str = "bures",
    ) -> None:
        check_discount(discount)
        check_neighbours(neighbours)
        self.noise, self.prior_weight, self.neighbour_radius = noise, prior_weight, neighbour_radius
        self.discount, self.neighbours = discount, neighbours

    def identity(self) -> dict[str, Any]:
        """The settings that decide what it selects."""
        return {
            "policy": "thompson",
            "noise": self.noise,
            "prior_weight": self.prior_weight,
            "neighbour_radius": self.neighbour_radius,
            "discount": self.discount,
            "neighbours": self.neighbours,
        }

    def start(
        self,
        n_arms: int,
        prior: np.ndarray | None = None,
        neighbours: Neighbours | None = None,
        features: np.ndarray | None = None,
    ) -> None:
        """Forget everything and stand before the first pull."""
        self.evidence = Evidence(n_arms, prior, neighbours, prior_weight=self.prior_weight, discount=self.discount)

    def update(
        self,
        arms: Sequence[int],
        rewards: Sequence[float | None],
        promised: Sequence[float] | None = None,
        scores: Sequence[float] | None = None,
    ) -> None:
        """Credit arms, and their neighbours, with rewards; `None` is no evidence."""
        self.evidence.credit(arms, rewards, promised)

    def select(
        self,
        arms: int,
        documents: int,
        remaining: np.ndarray,
        rng: np.random.Generator,
        promise: np.ndarray | None = None,
    ) -> list[Pull]:
        """The arms that are best in one draw, best first; an arm about which nothing is known comes before others."""
        means, weights = self.evidence.estimate(promise)
        draw = means + self.noise * rng.standard_normal(len(means)) / np.sqrt(np.maximum(weights, 1e-9))
        return best_pulls(draw, arms, documents, remaining, rng)
