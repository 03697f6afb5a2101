"""Bandit policies: which clusters are pulled next, from what every arm has earned so far.

A policy is deterministic given its updates and the random generator it is handed, and keeps only numbers: the
collector rebuilds it by replaying a run's records. Here are the base class, the paper's policy, Thompson sampling and
the two controls; `experimental/` holds LinUCB and EXP3.

>>> bandit = UCB(alpha=0.0, prior_weight=1.0)
>>> bandit.start(3, prior=np.array([0.1, 0.5, 0.3]))
>>> [pull.arm for pull in bandit.select(2, 10, np.array([50, 50, 50]), np.random.default_rng(0))]
[1, 2]
>>> bandit.update([1, 2], [-0.5, 0.1])
>>> bandit.select(1, 10, np.array([50, 50, 4]), np.random.default_rng(0))[0].documents
4
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from equal_hf.errors import ConfigError
from equal_hf.selection.arm_statistics import ArmStatistics
from equal_hf.selection.neighbours import Neighbours, check_neighbours


@dataclass(frozen=True, slots=True)
class Pull:
    """An arm to pull.

    Args:
        arm (`int`): The cluster.
        score (`float`): Why it was chosen, in the policy's own terms.
        documents (`int`): How many documents to draw, never more than the cluster has left.
    """

    arm: int
    score: float
    documents: int


class Bandit:
    """Base class of policies. A subclass gives [`scores`] and, if it learns from rewards, [`update`].

    Attributes:
        neighbour_radius (`float`): Distance within which clusters share rewards; 0 shares nothing.
        neighbours (`str`): How they share, `"bures"` or `"centroid"`; see [`find_neighbours`].

    >>> class Cautious(Bandit):
    ...     def scores(self, expected=None, rng=None):
    ...         return -np.abs(self.prior)
    >>> bandit = Cautious()
    >>> bandit.start(3, prior=np.array([-1.0, 0.1, 2.0]))
    >>> bandit.select(1, 10, np.array([50, 50, 50]), np.random.default_rng(0))[0].arm
    1
    """

    neighbour_radius: float = 0.0
    neighbours: str = "bures"

    @property
    def corrects(self) -> bool:
        """Whether scores are the reward expected of arms and a finite correction, so that it can be applied to the
        documents of all arms."""
        return False

    def start(
        self,
        n_arms: int,
        prior: np.ndarray | None = None,
        neighbours: Neighbours | None = None,
        features: np.ndarray | None = None,
    ) -> None:
        """Reset.

        Args:
            n_arms (`int`): Arms.
            prior (`np.ndarray` of shape `(k,)`, *optional*): Reward expected of every arm before its first pull.
            neighbours ([`Neighbours`], *optional*): Arms that share rewards.
            features (`np.ndarray` of shape `(k, p)`, *optional*): Where the clusters lie; `p` is at most 32.
        """
        self.prior = np.zeros(n_arms) if prior is None else np.asarray(prior, dtype=np.float64)

    def scores(self, expected: np.ndarray | None = None, rng: np.random.Generator | None = None) -> np.ndarray:
        """Score of every arm, shape `(k,)`: the highest are pulled.

        Args:
            expected (`np.ndarray` of shape `(k,)`, *optional*): Reward expected of every arm's next documents; takes
                the place of the prior.
            rng (`np.random.Generator`, *optional*): The round's generator, for policies that draw.
        """
        raise NotImplementedError(f"{type(self).__name__} gives no scores: implement `scores` or `select`")

    def select(
        self,
        arms: int,
        documents: int,
        remaining: np.ndarray,
        rng: np.random.Generator,
        expected: np.ndarray | None = None,
    ) -> list[Pull]:
        """The best-scored arms that have documents left, best first; ties in an order drawn from `rng`.

        Args:
            arms, documents (`int`): Arms to pull and documents of each, as a rule; see [`best_pulls`].
            remaining (`np.ndarray` of shape `(k,)`): Documents that every arm has left.
            rng (`np.random.Generator`): The round's generator.
            expected (`np.ndarray` of shape `(k,)`, *optional*): As for [`scores`].
        """
        return best_pulls(self.scores(expected, rng), arms, documents, remaining, rng)

    def update(
        self,
        arms: Sequence[int],
        rewards: Sequence[float | None],
        expected: Sequence[float] | None = None,
        scores: Sequence[float] | None = None,
    ) -> None:
        """Learn from a round's rewards, in the order of the rounds; by default nothing is learned.

        Args:
            arms (`Sequence[int]`): The arms pulled.
            rewards (`Sequence[float | None]`): Their rewards; `None` teaches nothing.
            expected (`Sequence[float]`, *optional*): Reward expected of each when it was selected; else the prior.
            scores (`Sequence[float]`, *optional*): The score of each when it was selected.
        """

    def identity(self) -> dict[str, Any]:
        """Name and settings, which decide what is selected: the class name and the constructor's arguments."""
        names = inspect.signature(type(self)).parameters
        return {"policy": type(self).__name__.lower(), **{name: getattr(self, name) for name in names}}


class _ArmwiseBandit(Bandit):
    """Estimates every arm by itself, from [`ArmStatistics`]."""

    def __init__(self, prior_weight: float, neighbour_radius: float, discount: float, neighbours: str) -> None:
        check_discount(discount)
        check_neighbours(neighbours)
        self.prior_weight, self.neighbour_radius = prior_weight, neighbour_radius
        self.discount, self.neighbours = discount, neighbours

    @property
    def corrects(self) -> bool:
        """It does where expectations count."""
        return self.prior_weight > 0

    def start(
        self,
        n_arms: int,
        prior: np.ndarray | None = None,
        neighbours: Neighbours | None = None,
        features: np.ndarray | None = None,
    ) -> None:
        """Reset."""
        weights = {"prior_weight": self.prior_weight, "discount": self.discount}
        self.statistics = ArmStatistics(n_arms, prior, neighbours, **weights)

    def update(
        self,
        arms: Sequence[int],
        rewards: Sequence[float | None],
        expected: Sequence[float] | None = None,
        scores: Sequence[float] | None = None,
    ) -> None:
        """Learn about the arms pulled, and their neighbours."""
        self.statistics.update(arms, rewards, expected)


class UCB(_ArmwiseBandit):
    """Upper confidence bound over clusters (arXiv 2505.12250, document-sampling score).

    `score_i = mean_i + alpha * sqrt(2 ln ΣT / T_i)`, where `T_i` counts the rewards of arm i and `mean_i` averages
    them. A prior enters as `prior_weight` pseudo-rewards of every arm ([`ArmStatistics`] says how). Without a prior
    every arm is pulled once before any is pulled twice. With a discount it is the discounted UCB of Garivier and
    Moulines (arXiv 0805.3415).

    Args:
        alpha (`float`, *optional*, defaults to `0.1`): Weight of the exploration term, in units of the reward (the
            paper: 0.001).
        prior_weight (`float`, *optional*, defaults to `10.0`): How many rewards the prior counts for.
        neighbour_radius (`float`, *optional*, defaults to `0.0`): Distance within which clusters share rewards; 0
            shares nothing, the paper uses 0.2.
        discount (`float`, *optional*, defaults to `1.0`): Factor on earlier rewards at every round, for rewards that
            drift.
        neighbours (`str`, *optional*, defaults to `"bures"`): How clusters share: `"bures"`, wholly within that
            Bures-Wasserstein distance, as in the paper; or `"centroid"`, by a Gaussian kernel of that width.
    """

    def __init__(
        self,
        alpha: float = 0.1,
        prior_weight: float = 10.0,
        neighbour_radius: float = 0.0,
        discount: float = 1.0,
        neighbours: str = "bures",
    ) -> None:
        super().__init__(prior_weight, neighbour_radius, discount, neighbours)
        self.alpha = alpha

    def scores(self, expected: np.ndarray | None = None, rng: np.random.Generator | None = None) -> np.ndarray:
        """Upper confidence bound of every arm, shape `(k,)`; infinite for an arm about which nothing is known."""
        means, weights = self.statistics.estimate(expected)
        total = max(weights.sum(), 1.0)
        return means + self.alpha * np.sqrt(2.0 * np.log(total) / np.maximum(weights, 1e-9))


class Thompson(_ArmwiseBandit):
    """Thompson sampling with Gaussian rewards (Thompson 1933): the best arms of one draw from the posterior.

    The posterior of an arm is a Gaussian about its estimate, of standard deviation `noise / sqrt(T_i)`, where `T_i`
    counts its rewards and what the prior counts for. The arms of a round come from one draw, so they differ without a
    further rule, however late rewards arrive.

    Args:
        noise (`float`, *optional*, defaults to `0.3`): Standard deviation of one reward about its arm's mean, in units
            of the reward.
        prior_weight (`float`, *optional*, defaults to `10.0`): How many rewards the prior counts for.
        neighbour_radius, discount, neighbours: As for [`UCB`].

    >>> bandit = Thompson(noise=0.0)
    >>> bandit.start(3, prior=np.array([0.1, 0.5, 0.3]))
    >>> [pull.arm for pull in bandit.select(2, 10, np.array([50, 50, 50]), np.random.default_rng(0))]
    [1, 2]
    """

    def __init__(
        self,
        noise: float = 0.3,
        prior_weight: float = 10.0,
        neighbour_radius: float = 0.0,
        discount: float = 1.0,
        neighbours: str = "bures",
    ) -> None:
        super().__init__(prior_weight, neighbour_radius, discount, neighbours)
        self.noise = noise

    def scores(self, expected: np.ndarray | None = None, rng: np.random.Generator | None = None) -> np.ndarray:
        """One draw of every arm's mean, shape `(k,)`; infinite for an arm about which nothing is known."""
        assert rng is not None, "Thompson sampling draws: pass `rng`"
        means, weights = self.statistics.estimate(expected)
        return means + self.noise * rng.standard_normal(len(means)) / np.sqrt(np.maximum(weights, 1e-9))


class Greedy(Bandit):
    """Control: pulls the arms with the highest expected reward and learns nothing from rewards."""

    @property
    def corrects(self) -> bool:
        """By nothing."""
        return True

    def scores(self, expected: np.ndarray | None = None, rng: np.random.Generator | None = None) -> np.ndarray:
        """Expected reward of every arm, shape `(k,)`."""
        return self.prior if expected is None else expected


class Uniform(Bandit):
    """Control: every remaining document is equally likely, whatever the rewards.

    A round draws as many documents as any policy's would, from however many clusters they lie in.
    """

    def select(
        self,
        arms: int,
        documents: int,
        remaining: np.ndarray,
        rng: np.random.Generator,
        expected: np.ndarray | None = None,
    ) -> list[Pull]:
        """The clusters of `arms * documents` documents drawn without replacement; the score is a cluster's share."""
        left = int(remaining.sum())
        drawn = rng.multivariate_hypergeometric(remaining, min(arms * documents, left), method="marginals")
        return [Pull(int(arm), float(remaining[arm] / left), int(drawn[arm])) for arm in np.flatnonzero(drawn)]


def best_pulls(
    scores: np.ndarray, arms: int, documents: int, remaining: np.ndarray, rng: np.random.Generator
) -> list[Pull]:
    """Pull the best-scored arms that have documents left; ties in an order drawn from `rng`.

    A round draws `arms * documents` documents while the corpus has as many: where an arm runs dry, the next best make
    up for it; where all arms together fall short, the best give more.

    >>> scores, left, rng = np.array([0.2, 0.9, 0.5]), np.array([9, 1, 9]), np.random.default_rng(0)
    >>> [(pull.arm, pull.documents) for pull in best_pulls(scores, 2, 3, left, rng)]
    [(1, 1), (2, 3), (0, 2)]
    """
    shuffled = rng.permutation(len(scores))
    alive = shuffled[remaining[shuffled] > 0]
    best = alive[np.argsort(-scores[alive], kind="stable")]
    wanted = arms * documents
    taken = _fill(np.minimum(remaining[best], documents), wanted)
    taken += _fill(remaining[best] - taken, wanted - int(taken.sum()))
    return [Pull(int(best[i]), float(scores[best[i]]), int(taken[i])) for i in np.flatnonzero(taken)]


def _fill(capacity: np.ndarray, wanted: int) -> np.ndarray:
    """How much each entry takes when `wanted` is spread over entries of that capacity in order."""
    before = np.cumsum(capacity) - capacity
    return np.clip(wanted - before, 0, capacity)


def check_discount(discount: float) -> None:
    """Refuse a discount that is no weight.

    Raises:
        [`ConfigError`]: If it is not above 0 and at most 1.
    """
    if not 0 < discount <= 1:
        raise ConfigError(f"`discount` is {discount}: set it above 0 and to 1 at most, 1 to forget nothing")
