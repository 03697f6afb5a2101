"""Linear regression that learns as rows arrive and chooses its own strength.

>>> ridge = Ridge(2)
>>> x = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 1.0], [3.0, 0.0]])
>>> ridge.update(x, x[:, :1] * 2 + 1)
>>> ridge.predict(np.array([[5.0, 0.0]])).round(1)
array([[11.]])
"""

from __future__ import annotations

import numpy as np

STRENGTHS = np.geomspace(1e-3, 1e3, 25)


class Ridge:
    """Ridge regression from sums alone, whose strength is the one under which what was seen is most likely.

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
        self.sum_x = np.zeros(dimension)
        self.sum_y = np.zeros(outputs)
        self.sum_xx = np.zeros((dimension, dimension))
        self.sum_xy = np.zeros((dimension, outputs))
        self.sum_yy = np.zeros(outputs)
        self._solution: np.ndarray | None = None

    def update(self, x: np.ndarray, y: np.ndarray) -> None:
        """Take in rows.

        Args:
            x (`np.ndarray` of shape `(n, dimension)`): Inputs.
            y (`np.ndarray` of shape `(n, outputs)`): What they gave.
        """
        x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
        keep = self.discount
        self.rows = keep * self.rows + len(x)
        self.sum_x = keep * self.sum_x + x.sum(axis=0)
        self.sum_y = keep * self.sum_y + y.sum(axis=0)
        self.sum_xx = keep * self.sum_xx + x.T @ x
        self.sum_xy = keep * self.sum_xy + x.T @ y
        self.sum_yy = keep * self.sum_yy + (y**2).sum(axis=0)
        self._solution = None

    def predict(self, x: np.ndarray) -> np.ndarray:
        """What inputs are expected to give.

        Args:
            x (`np.ndarray` of shape `(n, dimension)`): Inputs.

        Returns:
            `np.ndarray` of shape `(n, outputs)`: 1 throughout while nothing has been seen.
        """
        if self.rows <= 0:
            return np.ones((len(x), len(self.sum_y)))
        if self._solution is None:
            self._solution = self._solve()
        return self.sum_y / self.rows + (x - self.sum_x / self.rows) @ self._solution

    def _solve(self) -> np.ndarray:
        mean_x, mean_y = self.sum_x / self.rows, self.sum_y / self.rows
        values, vectors = np.linalg.eigh(self.sum_xx - self.rows * np.outer(mean_x, mean_x))
        values = np.clip(values, 0.0, None)
        projected = vectors.T @ (self.sum_xy - self.rows * np.outer(mean_x, mean_y))
        variation = self.sum_yy - self.rows * mean_y**2
        if not values.sum() > 0:
            return np.zeros_like(projected)
        strengths = STRENGTHS * values.mean()
        # -2 log likelihood of (strength, output), constants left out.
        residual = variation - (projected**2 / (values[:, None] + strengths[:, None, None])).sum(axis=1)
        floor = 1e-9 * np.maximum(variation, 1e-12)
        misfit = self.rows * np.log(np.maximum(residual, floor))
        size = np.log1p(values / strengths[:, None]).sum(axis=1)
        best = strengths[(misfit + size[:, None]).argmin(axis=0)]
        return vectors @ (projected / (values[:, None] + best))
