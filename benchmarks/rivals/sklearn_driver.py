"""scikit-learn's MLPRegressor: L-BFGS on values, in float64. It takes no derivatives, and gives none.

Settings: the logistic units of the network that everyone gets, no ridge, tolerance 0, no limit of evaluations. SciPy's
ftol, which it does not pass on, ends a fit after 0.1 s: it is resumed (``warm_start``) as long as there is time.
The derivative is the chain rule over its own weights.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from _driver import WIDTHS, Task, Track, serve
from sklearn.neural_network import MLPRegressor
from threadpoolctl import threadpool_limits

ENDLESS = 10**9


class Noted(MLPRegressor):
    """MLPRegressor that offers what its L-BFGS evaluates."""

    track: Track

    def _loss_grad_lbfgs(self, packed: np.ndarray, *arguments: Any) -> tuple[float, np.ndarray]:
        loss, gradient = super()._loss_grad_lbfgs(packed, *arguments)
        self.track.offer(float(loss), packed.copy)
        return loss, gradient


class Sklearn:
    packages = ("scikit-learn", "scipy", "numpy")

    def fit(self, task: Task, track: Track) -> None:
        self.model = Noted(
            hidden_layer_sizes=WIDTHS,
            activation="logistic",
            solver="lbfgs",
            alpha=0.0,
            tol=0.0,
            max_iter=ENDLESS,
            max_fun=ENDLESS,
            warm_start=True,
            random_state=task.seed,
        )
        self.model.track = track
        with threadpool_limits(limits=1):  # 19 rows: threads cost more than they bring
            track.start()
            while True:
                self.model.fit(task.x, task.y.ravel())

    def predict(self, weights: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.model._unpack(weights)
        value, slope = x, np.ones_like(x)
        for kernel, bias in zip(self.model.coefs_[:-1], self.model.intercepts_[:-1], strict=True):
            unit = 1 / (1 + np.exp(-(value @ kernel + bias)))
            value, slope = unit, (slope @ kernel) * unit * (1 - unit)
        return value @ self.model.coefs_[-1] + self.model.intercepts_[-1], slope @ self.model.coefs_[-1]


if __name__ == "__main__":
    serve(Sklearn())
