"""Levenberg-Marquardt in float64, by NumPy and LAPACK."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final, final

import numpy as np
from threadpoolctl import threadpool_limits
from typing_extensions import override

from gradwire_training._jacobian import Residuals, residuals_of
from gradwire_training._models import Feature
from gradwire_training._objective import Objective
from gradwire_training._progress import Monitor
from gradwire_training.optimizers._damped import Damped, damped_at
from gradwire_training.optimizers._evidence import Ridge
from gradwire_training.optimizers._optimizer import Optimizer
from gradwire_training.optimizers._reporting import Reporter

SHRINK: Final = 1 / 3  # of the damping, at most, in a step that went as predicted
MOST_DAMPING: Final = 1e16  # of the first one: no step is so short that rounding leaves anything to gain
SETTLED: Final = 1e-30  # of the first loss: its root is rounding
# Multiplications in a step from which on BLAS may use every core: below, its threads spin more than they work, and on
# a machine that is busy otherwise a fit of 4 s took 39 s.
THREADED: Final = 1e8


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Lm(Optimizer):
    r"""Levenberg-Marquardt (Marquardt, SIAM J. Appl. Math. 11, 1963) for networks of up to a few thousand weights.

    Values and derivatives are one vector r of residuals with Jacobian J. A step h solves

    .. math:: (J^T J + (\lambda + \mu) I) h = -(J^T r + \lambda p),

    in the dual form when there are fewer residuals than weights (``_damped.py``). The damping mu follows the gain ratio
    rho, what the loss fell by over what was predicted (Nielsen's rule: Madsen, Nielsen and Tingleff, Methods for
    Non-Linear Least Squares Problems, 2004, algorithm 3.16): after a step that gains,
    mu <- mu max(1/3, 1 - (2 rho - 1)^3) and nu <- 2; else the step is not taken, mu <- mu nu and nu <- 2 nu. The ridge
    lambda is estimated from the data (``_evidence.py``), against noise. The history's loss of a step is the one after
    it.

    It runs outside XLA, in which it took 1.7 times as long at 19 points and 8 times at 200.

    Attributes:
        damping: mu at the start, in units of the mean of J J^T's diagonal.
        patience: steps over which the loss has to fall by ``gain``, for the fit to go on.
        gain: fraction of the loss: default 0.2%; exact labels still give 20% in 100 steps when it is 1e-16.
        evidence: whether the ridge is estimated; without it, it is zero.
    """

    name: ClassVar[str] = "lm"
    steps: ClassVar[int] = 4_000  # two seconds on 19 points with derivatives
    precision: ClassVar[str | None] = "float64"
    honours: ClassVar[frozenset[Feature]] = frozenset({Feature.STATISTICS, Feature.TRAINING})
    damping: float = 1e-3
    patience: int = 100
    gain: float = 0.002
    evidence: bool = True

    @override
    def minimize(self, objective: Objective, monitor: Monitor, *, steps: int) -> None:
        objective.hold(resumed=monitor.resumed(self.name) is not None)
        residuals = residuals_of(objective)
        cost = residuals.count * residuals.weights * min(residuals.count, residuals.weights)
        with (
            threadpool_limits(limits=None if cost > THREADED else 1, user_api="blas"),
            np.errstate(over="ignore", invalid="ignore"),  # steps to where numbers overflow are not taken
        ):
            _Descent(self, objective, residuals, monitor).run(steps)


@final
class _Descent:
    """One fit: the point, the damping, and the ridge."""

    def __init__(self, settings: Lm, objective: Objective, residuals: Residuals, monitor: Monitor) -> None:
        self._settings = settings
        self._residuals = residuals
        self._reporter = Reporter(objective, monitor, settings.name, self._state)
        self._point = self._reporter.start()
        errors, self._mae = residuals.at(self._point)
        self._loss = float(errors @ errors)
        self._first = self._loss
        self._equations: Damped = damped_at(residuals, self._point)
        mean = float(np.trace(self._equations.gram)) / residuals.count
        self._unit = mean if mean > 0 else 1.0
        self._mu, self._nu = settings.damping * self._unit, 2.0
        self._ridge = Ridge()
        self._past: list[float] = []
        if (resumed := self._reporter.resumed) is not None:  # the model has its weights already
            self._mu, self._nu = float(resumed["mu"]), float(resumed["nu"])
            self._unit, self._first = float(resumed["unit"]), float(resumed["first"])
            self._ridge = Ridge(float(resumed["ridge"]), int(resumed["due"]), float(resumed["seen"]))
            self._past = resumed["past"].tolist()

    def run(self, steps: int) -> None:
        """Take steps until there is nothing left to gain, or to do."""
        while self._reporter.done < steps and self._is_worth_it():
            self._step()
            self._past = [*self._past[-self._settings.patience :], self._loss]
            if not self._reporter.step(self._point, self._loss, self._mae, xla=self._residuals.xla):
                return
        self._reporter.finish(self._point, xla=self._residuals.xla)

    def _step(self) -> None:
        """Try one step, and take it if it gains."""
        if self._settings.evidence:
            self._ridge = self._ridge.estimated(
                self._reporter.done,
                self._equations,
                self._loss,
                first=self._first,
                size=float(self._point @ self._point),
                residuals=self._residuals.count,
            )
        step = self._equations.step(self._ridge.value, self._mu)
        if step is None:
            self._reject()
            return
        point = self._point + step
        errors, mae = self._residuals.at(point)
        loss = float(errors @ errors)
        ridge = self._ridge.value
        gained = self._total() - loss - ridge * float(point @ point)
        predicted = self._equations.predicted(step, ridge)
        if not (gained > 0 and predicted > 0):
            self._reject()
            return
        self._point, self._loss, self._mae = point, loss, mae
        self._equations = damped_at(self._residuals, point)
        self._mu *= max(SHRINK, 1 - (2 * gained / predicted - 1) ** 3)
        self._nu = 2.0

    def _reject(self) -> None:
        self._mu *= self._nu
        self._nu *= 2

    def _total(self) -> float:
        return self._loss + self._ridge.value * float(self._point @ self._point)

    def _is_worth_it(self) -> bool:
        if self._mu > MOST_DAMPING * self._unit or self._loss <= SETTLED * self._first:
            return False
        if len(self._past) <= self._settings.patience:
            return True
        return abs(self._past[0] - self._past[-1]) > self._settings.gain * self._past[-1]

    def _state(self) -> dict[str, Any]:
        damping = {"mu": self._mu, "nu": self._nu, "unit": self._unit, "first": self._first}
        ridge = {"ridge": self._ridge.value, "due": self._ridge.due, "seen": self._ridge.seen}
        return {**damping, **ridge, "past": self._past}
