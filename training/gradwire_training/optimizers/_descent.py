"""Steps of Levenberg-Marquardt, one at a time: the point, and the damping."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias, final

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from gradwire_training._jacobian import Residuals
from gradwire_training.optimizers._damped import Damped, damped_at

Array: TypeAlias = "NDArray[np.float64]"

SHRINK: Final = 1 / 3  # of the damping, at most, in a step that went as predicted
MOST_DAMPING: Final = 1e16  # of the first one: no step is so short that rounding leaves anything to gain
# Multiplications in a step from which on BLAS may use every core: below, its threads spin more than they work, and on
# a machine that is busy otherwise a fit of 4 s took 39 s, and one of 8 s (2e8 a step) took 280 s.
THREADED: Final = 5e9


def few_threads(residuals: Residuals) -> threadpool_limits:
    """Return a context in which BLAS has as many threads as steps gain from."""
    cost = residuals.count * residuals.weights * min(residuals.count, residuals.weights)
    return threadpool_limits(limits=None if cost > THREADED else 1, user_api="blas")


@final
class Descent:
    """Residuals r at a point p, and the next steps from there on |r|^2 + ridge |p|^2; every step names its ridge.

    The damping starts at ``damping`` times the mean of J J^T's diagonal.
    """

    def __init__(self, residuals: Residuals, point: Array, *, damping: float) -> None:
        self._residuals = residuals
        self.point = point
        errors, self.mae = residuals.at(point)
        self.loss = float(errors @ errors)
        self.first = self.loss  # where the fit began
        self.equations: Damped = damped_at(residuals, point)
        mean = float(np.trace(self.equations.gram)) / residuals.count
        self.unit = mean if mean > 0 else 1.0
        self.mu, self.nu = damping * self.unit, 2.0

    def total(self, ridge: float) -> float:
        """Return what is made small."""
        return self.loss + ridge * self.size

    @property
    def size(self) -> float:
        """The sum of the weights' squares."""
        return float(self.point @ self.point)

    @property
    def is_stuck(self) -> bool:
        """Whether steps have become too short to gain anything."""
        return self.mu > MOST_DAMPING * self.unit

    def step(self, ridge: float) -> bool:
        """Try one step, take it if it gains, and return whether it was taken."""
        step = self.equations.step(ridge, self.mu)
        if step is None:
            return self._reject()
        point = self.point + step
        errors, mae = self._residuals.at(point)
        loss = float(errors @ errors)
        gained = self.total(ridge) - loss - ridge * float(point @ point)
        predicted = self.equations.predicted(step, ridge)
        if not (gained > 0 and predicted > 0):
            return self._reject()
        self.point, self.loss, self.mae = point, loss, mae
        self.equations = damped_at(self._residuals, point)
        self.mu *= max(SHRINK, 1 - (2 * gained / predicted - 1) ** 3)
        self.nu = 2.0
        return True

    def state(self) -> dict[str, Any]:
        """Return what ``resume`` needs, beside the point."""
        return {"mu": self.mu, "nu": self.nu, "unit": self.unit, "first": self.first}

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state`` returned at this point."""
        self.mu, self.nu = float(state["mu"]), float(state["nu"])
        self.unit, self.first = float(state["unit"]), float(state["first"])

    def _reject(self) -> bool:
        self.mu *= self.nu
        self.nu *= 2
        return False
