"""Steps of Levenberg-Marquardt, one at a time: the point, and the damping."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias, final

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from gradwire_training._jacobian import Residuals
from gradwire_training.optimizers._damped import Damped, damped_at
from gradwire_training.optimizers._damping import Damping

Array: TypeAlias = "NDArray[np.float64]"

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
        self._damping = Damping(damping, unit=float(np.trace(self.equations.gram)) / residuals.count)

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
        return self._damping.is_stuck

    def step(self, ridge: float) -> bool:
        """Try one step, take it if it gains, and return whether it was taken."""
        step = self.equations.step(ridge, self._damping.mu)
        if step is None:
            self._damping.reject()
            return False
        point = self.point + step
        errors, mae = self._residuals.at(point)
        loss = float(errors @ errors)
        gained = self.total(ridge) - loss - ridge * float(point @ point)
        predicted = self.equations.predicted(step, ridge)
        if not (gained > 0 and predicted > 0):
            self._damping.reject()
            return False
        self.point, self.loss, self.mae = point, loss, mae
        self.equations = damped_at(self._residuals, point)
        self._damping.accept(gained=gained, predicted=predicted)
        return True

    def state(self) -> dict[str, Any]:
        """Return what ``resume`` needs, beside the point."""
        return {**self._damping.state(), "first": self.first}

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state`` returned at this point."""
        self._damping.resume(state)
        self.first = float(state["first"])
