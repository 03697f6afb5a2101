"""Linear regression of what pays per unit of cost, which learns as rows arrive and chooses its own strength.

>>> ridge = Ridge(2)
>>> x = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 1.0], [3.0, 0.0]])
>>> ridge.update(x, x[:, :1] * 2 + 1)
>>> ridge.predict(np.array([[5.0, 0.0]])).round(1)
array([[11.]])
"""

from __future__ import annotations

import copy

import numpy as np

STRENGTHS = np.geomspace(1e-3, 1e3, 25)


class Ridge:
    """Ridge regression whose strength is the one under which what was seen is most likely.

    With costs, a row says what a document gave, `y`, and what it cost, `c`. The model is of y / c, each row with the
    weight c: that is the ratio of the expected y to the expected c of rows like it, so neither a cheap row of little
    nor a rich row at a high price misleads it. Without costs every row costs 1.

    The marginal likelihood of each strength follows from the eigenvalues of the covariance, with the noise at its best
    value (MacKay 1992, "Bayesian interpolation"); so no setting depends on how an embedder scales its vectors, and a
    few noisy rows predict little more than their mean. The intercept is free.

    Args:
        dimension (`int`): Columns of the input.
        outputs (`int`, *optional*, defaults to `1`): Numbers predicted from it.
        discount (`float`, *optional*, defaults to `1.0`): Weight that rows keep from one update to the next.

    Attributes:
        rows (`float`): Rows seen, discounted.
    """

    def __init__(self, dimension: int, outputs: int = 1, discount: float = 1.0) -> None:
        self.discount = discount
        self.rows = 0.0
        self._x: list[np.ndarray] = []  # what y is may be told anew, so rows are kept, as float32
        self._costs: list[np.ndarray] = []
        self._y = np.zeros((0, outputs))
        self._sum_x = np.zeros(dimension)
        self._sum_xx = np.zeros((dimension, dimension))
        self._cost = 0.0
        self._fit: _Fit | None = None

    @property
    def x(self) -> np.ndarray:
        """Rows seen, shape `(n, dimension)`."""
        self._x = [np.concatenate([*self._x, np.zeros((0, len(self._sum_x)), np.float32)])]
        return self._x[0]

    @property
    def costs(self) -> np.ndarray:
        """What they cost, shape `(n,)`."""
        return np.concatenate([*self._costs, np.zeros(0)])

    @property
    def mean_cost(self) -> float:
        """What a row cost on average, discounted; 1 before the first."""
        return self._cost / self.rows if self.rows > 0 else 1.0

    def update(self, x: np.ndarray, y: np.ndarray, costs: np.ndarray | None = None) -> None:
        """Take in rows.

        Args:
            x (`np.ndarray` of shape `(n, dimension)`): Inputs.
            y (`np.ndarray` of shape `(n, outputs)`): What they gave.
            costs (`np.ndarray` of shape `(n,)`, *optional*): What they cost, above 0.
        """
        costs = np.ones(len(x)) if costs is None else np.asarray(costs, dtype=np.float64)
        wide = np.asarray(x, dtype=np.float64)
        keep = self.discount
        self._x.append(np.asarray(x, dtype=np.float32))
        self._costs.append(costs)
        self._y = np.concatenate([self._y, np.asarray(y, dtype=np.float64)])
        self.rows = keep * self.rows + len(x)
        self._cost = keep * self._cost + costs.sum()
        # New arrays, never added to in place: a copy of this object shares them.
        self._sum_x = keep * self._sum_x + costs @ wide
        self._sum_xx = keep * self._sum_xx + (wide * costs[:, None]).T @ wide
        self._fit = None

    def relearn(self, y: np.ndarray) -> None:
        """Say anew what all rows seen gave, shape `(n, outputs)`."""
        self._y, self._fit = np.asarray(y, dtype=np.float64), None

    def copy(self) -> Ridge:
        """A copy that learns by itself; arrays are shared."""
        then = copy.copy(self)
        then._x, then._costs = list(self._x), list(self._costs)
        return then

    def predict(self, x: np.ndarray) -> np.ndarray:
        """What inputs are expected to give per unit of cost.

        Args:
            x (`np.ndarray` of shape `(n, dimension)`): Inputs.

        Returns:
            `np.ndarray` of shape `(n, outputs)`: 1 throughout while nothing has been seen.
        """
        if self.rows <= 0:
            return np.ones((len(x), self._y.shape[1]))
        fit = self._fitted()
        return fit.mean_y + (x - fit.mean_x) @ fit.solution

    def spread(self, x: np.ndarray, costs: np.ndarray | float = np.inf) -> np.ndarray:
        """Standard deviation of what inputs give per unit of cost, shape `(n, outputs)`.

        Args:
            x (`np.ndarray` of shape `(n, dimension)`): Inputs.
            costs (`np.ndarray` of shape `(n,)` or `float`, *optional*): What they will cost: the noise of a row falls
                with its cost. Infinite where left out, which leaves the doubt about the expectation alone.

        Returns:
            `np.ndarray` of shape `(n, outputs)`: Infinite while nothing has been seen.
        """
        if self.rows <= 0:
            return np.full((len(x), self._y.shape[1]), np.inf)
        fit = self._fitted()
        rotated = ((x - fit.mean_x) @ fit.vectors) ** 2
        doubt = rotated @ (1.0 / (fit.values[:, None] + fit.strengths)) + 1.0 / self._cost
        noise = np.broadcast_to(1.0 / np.asarray(costs, dtype=np.float64), len(x))[:, None]
        return np.sqrt(fit.noise * (doubt + noise))

    def _fitted(self) -> _Fit:
        if self._fit is None:
            self._fit = self._solve()
        return self._fit

    def _solve(self) -> _Fit:
        weights = self._discounts()
        mean_x, mean_y = self._sum_x / self._cost, (weights @ self._y) / self._cost
        values, vectors = np.linalg.eigh(self._sum_xx - self._cost * np.outer(mean_x, mean_x))
        values = np.clip(values, 0.0, None)
        sum_xy = self.x.T.astype(np.float64) @ (weights[:, None] * self._y)
        projected = vectors.T @ (sum_xy - self._cost * np.outer(mean_x, mean_y))
        variation = (weights / self.costs) @ self._y**2 - self._cost * mean_y**2
        if not values.sum() > 0:
            strengths, solution = np.ones(len(mean_y)), np.zeros_like(projected)
            return _Fit(mean_x, mean_y, values, vectors, strengths, solution, variation / self.rows)
        strengths = STRENGTHS * values.mean()
        # -2 log likelihood of (strength, output), constants left out.
        residual = variation - (projected**2 / (values[:, None] + strengths[:, None, None])).sum(axis=1)
        residual = np.maximum(residual, 1e-9 * np.maximum(variation, 1e-12))
        misfit = self.rows * np.log(residual)
        size = np.log1p(values / strengths[:, None]).sum(axis=1)
        best = (misfit + size[:, None]).argmin(axis=0)
        noise = residual[best, np.arange(len(best))] / self.rows
        solution = vectors @ (projected / (values[:, None] + strengths[best]))
        return _Fit(mean_x, mean_y, values, vectors, strengths[best], solution, noise)

    def _discounts(self) -> np.ndarray:
        """Weight of every row: 1, or what the rounds since have left of it."""
        age = len(self._costs) - 1 - np.repeat(np.arange(len(self._costs)), [len(own) for own in self._costs])
        return self.discount**age


class _Fit:
    def __init__(
        self,
        mean_x: np.ndarray,
        mean_y: np.ndarray,
        values: np.ndarray,
        vectors: np.ndarray,
        strengths: np.ndarray,
        solution: np.ndarray,
        noise: np.ndarray,
    ) -> None:
        self.mean_x, self.mean_y, self.values, self.vectors = mean_x, mean_y, values, vectors
        self.strengths, self.solution, self.noise = strengths, solution, noise
