"""What the next of a run's budget buys: useful pairs to expect, with intervals, from what the rounds so far gave.

A pair is *useful* if its value ([`PairValues`], the mixture) is a half or more for one of the targets, and it is no
near-copy of another: where nearness alone says what pairs are worth, one that lies nearer to the reference than three
quarters of the corpus's documents; where pairs are graded, one that the grade and nearness together put in the upper
half.

Useful pairs are taken for events of an inhomogeneous Poisson process over what is spent, whose rate falls as the best
documents are used up, as stopping rules of technology-assisted review do (Sneyd and Stevenson, "Modelling stopping
criteria for search results using Poisson processes", 2019; Stevenson and Bin-Hezam, arXiv 2311.08597). The rate at
spending `x` of `X` so far is `a (1 + x / (0.1 X))^-b exp(-c x / X)`: their hyperbolic and exponential rates as one
family. Shapes `(b, c)` are averaged by their posterior on a grid, the scale `a` has a Gamma posterior in closed form;
counts vary more than Poisson's by a factor that the rounds show, and rounds weigh less the longer ago they are. To
that variance comes the rate's drift from any such curve, which grows with the rounds ahead. Last, the forecast is made
at four earlier rounds too and held against what has come since: where it erred by more than it said, intervals are
wider by as much. The constants were set on other targets than those that `tests/benchmarks/selection_forecast.py`
judges by.

Nothing here draws at random: the same rounds give the same forecast.

>>> ahead = forecast(spent=[100.0] * 8, useful=[40, 36, 31, 27, 24, 20, 18, 16], left=400.0)
>>> [(part.share, round(part.useful)) for part in ahead]
[(0.1, 6), (0.5, 29), (1.0, 54)]
>>> all(part.low <= part.useful <= part.high for part in ahead)
True
>>> forecast(spent=[100.0], useful=[40], left=400.0)  # nobody knows after one round
()
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SHARES = (0.1, 0.5, 1.0)  # of what is left of the budget
COVERAGE = 0.8  # of the intervals
LEAST_ROUNDS = 4
MOST_ROUNDS = 200  # kept apart; with more, neighbours are added up
# What was spent last counts whole, what was spent this share of all spending earlier counts half.
HALF_LIFE = 0.4
# Prior of the shapes: b about 0.5 ± 1, c exponential with mean 1; what is expected of overdispersion, as two rounds.
BEND, B, C = 0.1, np.linspace(-0.75, 3.0, 11), np.array([0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0])
PRIOR_B, PRIOR_C, PRIOR_ROUNDS, PRIOR_OVERDISPERSION = (0.5, 1.0), 1.0, 2.0, 1.2
# Of the variance: how much the posterior of the curve counts, and the squared drift of the rate over 20 rounds.
CURVE_VARIANCE, DRIFT_VARIANCE, DRIFT_ROUNDS, MOST_DRIFT = 0.3, 0.27**2, 20, 8.0
# The forecast is tried after these shares of the rounds. Its mean squared error in units of its variance, together
# with one of 1, scales the variance, but hardly reduces it.
TRIED_AFTER, MOST_ERROR, LEAST_SCALE = (0.4, 0.55, 0.7, 0.85), 25.0, 0.8

_B, _C = (grid.ravel() for grid in np.meshgrid(B, C, indexing="ij"))
_LOG_PRIOR = (
    -0.5 * ((_B - PRIOR_B[0]) / PRIOR_B[1]) ** 2 - _C / PRIOR_C + np.log(np.tile(np.gradient(C), len(B)))
)  # the last: the grid of c is not even
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(4)


@dataclass(frozen=True, slots=True)
class Ahead:
    """What a share of the rest of the budget is expected to give.

    Args:
        share (`float`): Of what is left.
        budget (`float`): That much, in the unit that the budget is counted in.
        useful (`float`): Useful pairs expected of it.
        low, high (`float`): An interval that holds them with a probability of 80 %.
    """

    share: float
    budget: float
    useful: float
    low: float
    high: float


def forecast(spent: Sequence[float], useful: Sequence[float], left: float) -> tuple[Ahead, ...]:
    """Expect useful pairs of the next 10 %, 50 % and 100 % of what is left.

    Args:
        spent (`Sequence[float]`): What each round so far spent, in any one unit.
        useful (`Sequence[float]`): Useful pairs of each.
        left (`float`): What may still be spent, in the same unit.

    Returns:
        `tuple[Ahead, ...]`: Empty after fewer than four rounds that spent something, or where nothing is left.
    """
    costs, counts = np.asarray(spent, dtype=np.float64), np.asarray(useful, dtype=np.float64)
    costs, counts = costs[costs > 0], counts[costs > 0]
    if len(costs) < LEAST_ROUNDS or not left > 0:
        return ()
    curve, scale = _Curve(costs, counts), _scale_of_error(costs, counts)
    return tuple(_ahead(share, share * left, *curve.expect(share * left), scale) for share in SHARES)


def found_share(found: float, ahead: Sequence[Ahead]) -> float | None:
    """Share of the useful pairs that can be found with the whole budget that is found already.

    Args:
        found (`float`): Useful pairs so far.
        ahead (`Sequence[Ahead]`): From [`forecast`].

    Returns:
        `float` or `None`: `None` without a forecast, or where nothing is found nor expected.

    >>> found_share(90.0, [Ahead(1.0, 50.0, 10.0, 5.0, 16.0)])
    0.9
    """
    whole = found + ahead[-1].useful if ahead else 0.0
    return found / whole if whole > 0 else None


def _scale_of_error(costs: np.ndarray, counts: np.ndarray) -> float:
    """Squared errors of earlier forecasts in units of their variance, on average."""
    errors = [1.0]
    for share in TRIED_AFTER:
        if LEAST_ROUNDS <= (now := round(share * len(costs))) < len(costs):
            mean, variance = _Curve(costs[:now], counts[:now]).expect(float(costs[now:].sum()))
            errors.append(min((float(counts[now:].sum()) - mean) ** 2 / variance, MOST_ERROR))
    return max(float(np.mean(errors)), LEAST_SCALE)


def _ahead(share: float, budget: float, mean: float, variance: float, scale: float) -> Ahead:
    """With the interval of a Gamma distribution of that mean and variance, in whole pairs."""
    from scipy.stats import gamma

    spread = scale * variance
    low, high = gamma.ppf([(1 - COVERAGE) / 2, (1 + COVERAGE) / 2], mean**2 / spread, scale=spread / mean)
    return Ahead(share, budget, mean, min(float(np.floor(low)), mean), max(float(np.ceil(high)), mean))


class _Curve:
    """The posterior of the rate, from rounds."""

    def __init__(self, costs: np.ndarray, counts: np.ndarray) -> None:
        self.rounds, self.total = len(costs), float(costs.sum())
        costs, counts = _added_up(costs), _added_up(counts)
        ends = np.cumsum(costs) / self.total
        weights = 0.5 ** ((1.0 - ends) / HALF_LIFE)
        areas = _areas(ends - costs / self.total, ends) * self.total
        self._fit(areas, counts, weights, PRIOR_OVERDISPERSION)
        expected = (areas * self.scale[:, None]).T @ self.posterior
        excess = (weights * (counts - expected) ** 2 / np.maximum(expected, 0.3)).sum()
        pooled = (excess + PRIOR_ROUNDS * PRIOR_OVERDISPERSION) / (weights.sum() + PRIOR_ROUNDS)
        self._fit(areas, counts, weights, max(1.0, float(pooled)))

    def _fit(self, areas: np.ndarray, counts: np.ndarray, weights: np.ndarray, overdispersion: float) -> None:
        """Posterior of shapes and scale; the likelihood is that of Poisson, less certain by the overdispersion."""
        self.overdispersion = overdispersion
        seen, under = (weights * counts).sum(), (areas * weights).sum(axis=1)
        # A weak prior of the scale: half a pair where as many are expected as were seen.
        self.shape = 0.5 + seen / overdispersion
        rate = 0.5 * under / max(seen, 0.5) + under / overdispersion
        self.scale = self.shape / rate
        with np.errstate(divide="ignore"):
            logs = np.where(counts > 0, counts * np.log(np.maximum(areas, 1e-300)), 0.0)
        likelihood = (weights * logs).sum(axis=1) / overdispersion - self.shape * np.log(rate)
        posterior = np.exp(likelihood + _LOG_PRIOR - (likelihood + _LOG_PRIOR).max())
        self.posterior = posterior / posterior.sum()

    def expect(self, budget: float) -> tuple[float, float]:
        """Mean and variance of the useful pairs that a further budget buys."""
        further = budget / self.total
        pieces = np.linspace(1.0, 1.0 + further, max(2, 1 + int(np.ceil(2 * further))))
        by_shape = self.scale * _areas(pieces[:-1], pieces[1:]).sum(axis=1) * self.total
        mean = max(float(self.posterior @ by_shape), 1e-6)
        curve = float(self.posterior @ (by_shape**2 * (1 + 1 / self.shape))) - mean**2
        drift = DRIFT_VARIANCE * min(self.rounds / DRIFT_ROUNDS, MOST_DRIFT) * np.log1p(further)
        return mean, self.overdispersion * mean + CURVE_VARIANCE * max(curve, 0.0) + drift * mean**2


def _areas(starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Integrals of every shape over intervals, shape `(shapes, intervals)`; spending so far is 1."""
    half = (ends - starts)[:, None] / 2
    x = (starts + ends)[:, None] / 2 + half * _NODES
    rates = (1 + x / BEND) ** -_B[:, None, None] * np.exp(-_C[:, None, None] * (x - 1))
    return (rates * half * _WEIGHTS).sum(axis=2)


def _added_up(values: np.ndarray) -> np.ndarray:
    """Sums of neighbours, at most [`MOST_ROUNDS`] of them."""
    edges = np.linspace(0, len(values), min(len(values), MOST_ROUNDS) + 1).round().astype(int)[:-1]
    return np.add.reduceat(values, edges)
