"""Levenberg-Marquardt in float64, by NumPy and LAPACK."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final, final

import numpy as np
from typing_extensions import override

from gradwire_training._jacobian import Residuals, residuals_of
from gradwire_training._models import Feature
from gradwire_training._objective import Objective
from gradwire_training._progress import Monitor
from gradwire_training.optimizers._descent import Descent, few_threads
from gradwire_training.optimizers._evidence import Ridge
from gradwire_training.optimizers._optimizer import Optimizer
from gradwire_training.optimizers._reporting import Reporter
from gradwire_training.optimizers._ridges import Path

SETTLED: Final = 1e-30  # of the first loss: its root is rounding


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Lm(Optimizer):
    r"""Levenberg-Marquardt (Marquardt, SIAM J. Appl. Math. 11, 1963) for networks of up to a few thousand weights.

    Values and derivatives are one vector r of residuals with Jacobian J. A step h solves

    .. math:: (J^T J + (\lambda + \mu) I) h = -(J^T r + \lambda p),

    in the dual form when there are fewer residuals than weights (``_damped.py``). The damping mu follows the gain ratio
    rho, what the loss fell by over what was predicted (``_damping.py``): after a step that gains,
    mu <- mu max(1/3, 1 - (2 rho - 1)^3) and nu <- 2; else the step is not taken, mu <- mu nu and nu <- 2 nu. The ridge
    lambda is estimated from the data (``_evidence.py``), against noise; or, where ``ridge`` is given, it falls from
    strong to that one (``_ridges.py``), and the fit ends there. The history's loss of a step is the one after it.

    It runs outside XLA, in which it took 1.7 times as long at 19 points and 8 times at 200.

    Attributes:
        damping: mu at the start, in units of the mean of J J^T's diagonal.
        patience: steps over which the loss has to fall by ``gain``, for the fit to go on.
        gain: fraction of the loss: default 0.2%; exact labels still give 20% in 100 steps when it is 1e-16.
        evidence: whether the ridge is estimated; without it, it is zero.
        ridge: the last one of a path of ridges; None, the default, for none. ``auto`` finds one by rows held out.
    """

    name: ClassVar[str] = "lm"
    steps: ClassVar[int] = 4_000  # two seconds on 19 points with derivatives
    precision: ClassVar[str | None] = "float64"
    honours: ClassVar[frozenset[Feature]] = frozenset({Feature.STATISTICS, Feature.TRAINING})
    damping: float = 1e-3
    patience: int = 100
    gain: float = 0.002
    evidence: bool = True
    ridge: float | None = None

    @override
    def minimize(self, objective: Objective, monitor: Monitor, *, steps: int) -> None:
        objective.hold(resumed=monitor.resumed(self.name) is not None)
        residuals = residuals_of(objective)
        # Steps to where numbers overflow are not taken.
        with few_threads(residuals), np.errstate(over="ignore", invalid="ignore"):
            _Fit(self, objective, residuals, monitor).run(steps)


def step_work(objective: Objective) -> float:
    """Return the number of multiplications in a step."""
    weights, labels = objective.weight_count, objective.label_count
    return float(weights) * labels * min(weights, labels)


@final
class _Fit:
    """One fit: the descent, and the ridge."""

    def __init__(self, settings: Lm, objective: Objective, residuals: Residuals, monitor: Monitor) -> None:
        self._settings = settings
        self._residuals = residuals
        self._reporter = Reporter(objective, monitor, settings.name, self._state)
        self._descent = Descent(residuals, self._reporter.start(), damping=settings.damping)
        self._ridge = Ridge()
        self._path = (
            None if settings.ridge is None else Path(self._descent, variation=objective.variation, last=settings.ridge)
        )
        self._past: list[float] = []
        if (resumed := self._reporter.resumed) is not None:  # the model has its weights already
            self._descent.resume(resumed)
            self._ridge = Ridge(float(resumed["ridge"]), int(resumed["due"]), float(resumed["seen"]))
            self._past = resumed["past"].tolist()
            if self._path is not None:
                self._path.ridge, self._path.taken = float(resumed["at"]), int(resumed["taken"])

    def run(self, steps: int) -> None:
        """Take steps until there is nothing left to gain, or to do."""
        goes_on = True
        while goes_on and self._reporter.done < steps and self._is_worth_it():
            goes_on = self._step() if self._path is None else not self._path.step() or self._path.weaken()
            self._past = [*self._past[-self._settings.patience :], self._descent.loss]
            if not self._reporter.step(
                self._descent.point, self._descent.loss, self._descent.mae, xla=self._residuals.xla
            ):
                return
        self._reporter.finish(self._descent.point, xla=self._residuals.xla)

    def _step(self) -> bool:
        """Try one step, and take it if it gains."""
        if self._settings.evidence:
            self._ridge = self._ridge.estimated(
                self._reporter.done,
                self._descent.equations,
                self._descent.loss,
                first=self._descent.first,
                size=self._descent.size,
                residuals=self._residuals.count,
            )
        self._descent.step(self._ridge.value)
        return True

    def _is_worth_it(self) -> bool:
        if self._descent.is_stuck or self._descent.loss <= SETTLED * self._descent.first:
            return False
        if self._path is not None or len(self._past) <= self._settings.patience:
            return True
        return abs(self._past[0] - self._past[-1]) > self._settings.gain * self._past[-1]

    def _state(self) -> dict[str, Any]:
        ridge = {"ridge": self._ridge.value, "due": self._ridge.due, "seen": self._ridge.seen}
        path = {} if self._path is None else {"at": self._path.ridge, "taken": self._path.taken}
        return {**self._descent.state(), **ridge, **path, "past": self._past}
