"""Bandit policies: given what every arm has earned so far, which clusters are pulled next.

A policy is deterministic given its updates and the random generator it is handed, and keeps nothing but numbers: the
collector rebuilds it by replaying a run's records.

>>> bandit = UCB(alpha=0.0)
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

from equal_hf.selection.neighbours import Neighbours

SHIFT_ARMS = 10


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

    def start(self, n_arms: int, prior: np.ndarray | None = None, neighbours: Neighbours | None = None) -> None:
        """Forget everything and stand before the first pull."""

    def select(self, arms: int, documents: int, remaining: np.ndarray, rng: np.random.Generator) -> list[Pull]:
        """Different arms that have documents left: as a rule `arms` of them with `documents` each, best first.

        `remaining`, of shape `(k,)`, is how many documents every arm has left.
        """

    def update(self, arms: Sequence[int], rewards: Sequence[float | None]) -> None:
        """Credit arms with rewards; `None` is no evidence."""

    def identity(self) -> dict[str, Any]:
        """The settings that decide what it selects."""


class UCB:
    """Upper confidence bound over clusters (arXiv 2505.12250, document-sampling score).

    `score_i = mean_i + alpha * sqrt(2 ln ΣT / T_i)`, where `T_i` counts the rewards arm i was credited with and
    `mean_i` averages them. A prior enters as `prior_weight` pseudo-rewards of every arm, so its say fades as rewards
    come in. Documents and pairs are different kinds of text and may sit at different distances from the reference; so
    the prior of all arms is shifted by what the arms credited so far differ from theirs on average, an average that
    counts [`SHIFT_ARMS`] further arms that do not differ, since a few arms may just be worse than they look. Without a
    prior every arm is looked at once before any is pulled twice.

    Args:
        alpha (`float`, *optional*, defaults to `0.1`): Weight of the exploration term, in units of the
            reward (the paper: 0.001).
        prior_weight (`float`, *optional*, defaults to `2.0`): How many rewards the prior counts for.
        neighbour_radius (`float`, *optional*, defaults to `0.0`): Bures-Wasserstein distance under which clusters
            share rewards; 0 shares nothing, the paper uses 0.2.
    """

    def __init__(self, alpha: float = 0.1, prior_weight: float = 2.0, neighbour_radius: float = 0.0) -> None:
        self.alpha, self.prior_weight, self.neighbour_radius = alpha, prior_weight, neighbour_radius

    def identity(self) -> dict[str, Any]:
        """The settings that decide what it selects."""
        return {
            "policy": "ucb",
            "alpha": self.alpha,
            "prior_weight": self.prior_weight,
            "neighbour_radius": self.neighbour_radius,
        }

    def start(self, n_arms: int, prior: np.ndarray | None = None, neighbours: Neighbours | None = None) -> None:
        """Forget everything and stand before the first pull."""
        self.counts = np.zeros(n_arms)
        self.sums = np.zeros(n_arms)
        self.prior = None if prior is None or self.prior_weight <= 0 else np.asarray(prior, dtype=np.float64)
        self.neighbours = neighbours
        self.pulls = np.zeros(n_arms)  # rewards of an arm's own, its neighbours' left out
        self.surprises = np.zeros(n_arms)

    def update(self, arms: Sequence[int], rewards: Sequence[float | None]) -> None:
        """Credit arms, and their neighbours, with rewards; `None` is no evidence."""
        for arm, reward in zip(arms, rewards, strict=True):
            if reward is None:
                continue
            if self.prior is not None:
                self.pulls[arm] += 1
                self.surprises[arm] += reward - self.prior[arm]
            self.counts[arm] += 1
            self.sums[arm] += reward
            if self.neighbours is not None:
                near = self.neighbours.of(arm)
                self.counts[near] += 1
                self.sums[near] += reward

    def scores(self) -> np.ndarray:
        """Score of every arm, shape `(k,)`; infinite for an arm about which nothing is known."""
        counts, sums = self.counts, self.sums
        if self.prior is not None:
            seen = self.pulls > 0
            shift = (self.surprises[seen] / self.pulls[seen]).sum() / (seen.sum() + SHIFT_ARMS)
            counts = counts + self.prior_weight
            sums = sums + self.prior_weight * (self.prior + shift)
        total = max(counts.sum(), 1.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            scores = sums / counts + self.alpha * np.sqrt(2.0 * np.log(total) / counts)
        return np.where(counts > 0, scores, np.inf)

    def select(self, arms: int, documents: int, remaining: np.ndarray, rng: np.random.Generator) -> list[Pull]:
        """The best-scored arms that have documents left, best first; ties in an order drawn from `rng`.

        A round draws `arms * documents` documents while the corpus has as many: where an arm runs dry, the next best
        make up for it.
        """
        scores = self.scores()
        shuffled = rng.permutation(len(scores))
        alive = shuffled[remaining[shuffled] > 0]
        best = alive[np.argsort(-scores[alive], kind="stable")]
        wanted = arms * documents
        # First `documents` an arm down the ranking; where all arms together fall short, the best give more.
        taken = _fill(np.minimum(remaining[best], documents), wanted)
        taken += _fill(remaining[best] - taken, wanted - int(taken.sum()))
        return [
            Pull(int(arm), float(scores[arm]), int(count)) for arm, count in zip(best, taken, strict=True) if count > 0
        ]


def _fill(capacity: np.ndarray, wanted: int) -> np.ndarray:
    """How much each place takes when `wanted` is poured over places of that capacity in order."""
    before = np.cumsum(capacity) - capacity
    return np.clip(wanted - before, 0, capacity)


class Uniform:
    """The control: every remaining document is as likely as any other, whatever the rewards say.

    A round draws as many documents as any policy's would, from however many clusters they happen to lie in.
    """

    neighbour_radius = 0.0

    def identity(self) -> dict[str, Any]:
        """The settings that decide what it selects."""
        return {"policy": "uniform"}

    def start(self, n_arms: int, prior: np.ndarray | None = None, neighbours: Neighbours | None = None) -> None:
        """Nothing to prepare."""

    def update(self, arms: Sequence[int], rewards: Sequence[float | None]) -> None:
        """Rewards change nothing."""

    def select(self, arms: int, documents: int, remaining: np.ndarray, rng: np.random.Generator) -> list[Pull]:
        """The clusters of `arms * documents` documents drawn without replacement; the score is a cluster's share."""
        left = int(remaining.sum())
        drawn = rng.multivariate_hypergeometric(remaining, min(arms * documents, left), method="marginals")
        return [Pull(int(arm), float(remaining[arm] / left), int(drawn[arm])) for arm in np.flatnonzero(drawn)]
