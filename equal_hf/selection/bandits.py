"""Bandit policies: given what every arm has earned so far, which clusters are pulled next.

A policy is deterministic given its updates and the random generator it is handed, and keeps nothing but numbers: the
collector rebuilds it by replaying a run's records. Here are the protocol, the paper's policy and the two controls;
`thompson.py`, `linucb.py` and `exp3.py` hold one further policy each.

>>> bandit = UCB(alpha=0.0, prior_weight=1.0)
>>> bandit.start(3, prior=np.array([0.1, 0.5, 0.3]))
>>> [pull.arm for pull in bandit.select(2, 10, np.array([50, 50, 50]), np.random.default_rng(0))]
[1, 2]
>>> bandit.update([1, 2], [-0.5, 0.1])
>>> bandit.select(1, 10, np.array([50, 50, 4]), np.random.default_rng(0))[0].documents
4
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from equal_hf.errors import ConfigError
from equal_hf.selection.arm_statistics import Evidence
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


class Bandit(Protocol):
    """What the collector needs of a policy."""

    neighbour_radius: float
    neighbours: str

    def start(
        self,
        n_arms: int,
        prior: np.ndarray | None = None,
        neighbours: Neighbours | None = None,
        features: np.ndarray | None = None,
    ) -> None:
        """Forget everything and stand before the first pull.

        `prior`, of shape `(k,)`, is what is expected of every arm, on the scale of the rewards; `features`, of shape
        `(k, p)` with `p` at most 32, tells where the clusters lie.
        """

    def select(
        self,
        arms: int,
        documents: int,
        remaining: np.ndarray,
        rng: np.random.Generator,
        promise: np.ndarray | None = None,
    ) -> list[Pull]:
        """Different arms that have documents left: as a rule `arms` of them with `documents` each, best first.

        `remaining`, of shape `(k,)`, is how many documents every arm has left. `promise`, of shape `(k,)`, is what is
        expected of the next ones, on the scale of the rewards; where it is given, it stands in for the prior.
        """

    def update(
        self,
        arms: Sequence[int],
        rewards: Sequence[float | None],
        promised: Sequence[float] | None = None,
        scores: Sequence[float] | None = None,
    ) -> None:
        """Credit a round's arms with rewards; `None` is no evidence.

        `promised` and `scores` are the arms' promise and score when they were selected. Rounds are credited in order,
        one call each; a late round is credited when its rewards are there, one without any never.
        """

    def identity(self) -> dict[str, Any]:
        """The settings that decide what it selects."""


class UCB:
    """Upper confidence bound over clusters (arXiv 2505.12250, document-sampling score).

    `score_i = mean_i + alpha * sqrt(2 ln ΣT / T_i)`, where `T_i` counts the rewards arm i was credited with and
    `mean_i` averages them. A prior enters as `prior_weight` pseudo-rewards of every arm ([`Evidence`] says how).
    Without a prior every arm is looked at once before any is pulled twice. With a discount it is the discounted UCB of
    Garivier and Moulines (arXiv 0805.3415).

    Args:
        alpha (`float`, *optional*, defaults to `0.1`): Weight of the exploration term, in units of the
            reward (the paper: 0.001).
        prior_weight (`float`, *optional*, defaults to `10.0`): How many rewards the prior counts for.
        neighbour_radius (`float`, *optional*, defaults to `0.0`): Distance within which clusters share rewards; 0
            shares nothing, the paper uses 0.2.
        discount (`float`, *optional*, defaults to `1.0`): Weight that evidence keeps from round to round, for rewards
            that drift.
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
        check_discount(discount)
        check_neighbours(neighbours)
        self.alpha, self.prior_weight, self.neighbour_radius = alpha, prior_weight, neighbour_radius
        self.discount, self.neighbours = discount, neighbours

    def identity(self) -> dict[str, Any]:
        """The settings that decide what it selects."""
        return {
            "policy": "ucb",
            "alpha": self.alpha,
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

    def scores(self, promise: np.ndarray | None = None) -> np.ndarray:
        """Score of every arm, shape `(k,)`; infinite for an arm about which nothing is known."""
        means, weights = self.evidence.estimate(promise)
        total = max(weights.sum(), 1.0)
        return means + self.alpha * np.sqrt(2.0 * np.log(total) / np.maximum(weights, 1e-9))

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


class Greedy:
    """The control that trusts what is expected of the arms, and learns nothing: most promising first."""

    neighbour_radius, neighbours = 0.0, "bures"

    def identity(self) -> dict[str, Any]:
        """The settings that decide what it selects."""
        return {"policy": "greedy"}

    def start(
        self,
        n_arms: int,
        prior: np.ndarray | None = None,
        neighbours: Neighbours | None = None,
        features: np.ndarray | None = None,
    ) -> None:
        """Forget everything and stand before the first pull."""
        self.prior = np.zeros(n_arms) if prior is None else np.asarray(prior, dtype=np.float64)

    def update(
        self,
        arms: Sequence[int],
        rewards: Sequence[float | None],
        promised: Sequence[float] | None = None,
        scores: Sequence[float] | None = None,
    ) -> None:
        """Rewards change nothing."""

    def select(
        self,
        arms: int,
        documents: int,
        remaining: np.ndarray,
        rng: np.random.Generator,
        promise: np.ndarray | None = None,
    ) -> list[Pull]:
        """The arms of which most is expected, best first."""
        return best_pulls(self.prior if promise is None else promise, arms, documents, remaining, rng)


class Uniform:
    """The control: every remaining document is as likely as any other, whatever the rewards say.

    A round draws as many documents as any policy's would, from however many clusters they happen to lie in.
    """

    neighbour_radius, neighbours = 0.0, "bures"

    def identity(self) -> dict[str, Any]:
        """The settings that decide what it selects."""
        return {"policy": "uniform"}

    def start(
        self,
        n_arms: int,
        prior: np.ndarray | None = None,
        neighbours: Neighbours | None = None,
        features: np.ndarray | None = None,
    ) -> None:
        """Nothing to prepare."""

    def update(
        self,
        arms: Sequence[int],
        rewards: Sequence[float | None],
        promised: Sequence[float] | None = None,
        scores: Sequence[float] | None = None,
    ) -> None:
        """Rewards change nothing."""

    def select(
        self,
        arms: int,
        documents: int,
        remaining: np.ndarray,
        rng: np.random.Generator,
        promise: np.ndarray | None = None,
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
    """How much each place takes when `wanted` is poured over places of that capacity in order."""
    before = np.cumsum(capacity) - capacity
    return np.clip(wanted - before, 0, capacity)


def check_discount(discount: float) -> None:
    """Refuse a discount that is no weight.

    Raises:
        [`ConfigError`]: If it is not above 0 and at most 1.
    """
    if not 0 < discount <= 1:
        raise ConfigError(f"`discount` is {discount}: set it above 0 and to 1 at most, 1 to forget nothing")
