"""Levenberg-Marquardt in float64, by NumPy and LAPACK."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias, final

import numpy as np
from threadpoolctl import threadpool_limits

from gradwire._errors import UsageError
from gradwire_training._jacobian import read_graph, residuals_of
from gradwire_training.optimizers._damped import damped_at
from gradwire_training.optimizers._evidence import Ridge
from gradwire_training.optimizers._optimizer import Optimizer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gradwire_training._jacobian import Residuals
    from gradwire_training._objective import Objective
    from gradwire_training._progress import Monitor
    from gradwire_training.optimizers._damped import Damped

Array: TypeAlias = "NDArray[np.float64]"

REPORT_SECONDS: Final = 0.1  # between reports: a step of a small network takes under a millisecond
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
    lambda is estimated from the data (``_evidence.py``), against noise.

    It runs outside XLA, in which it took 1.7 times as long at 19 points and 8 times at 200.

    Attributes:
        damping: mu at the start, in units of the mean of J J^T's diagonal.
        patience: steps over which the loss has to fall by ``gain``, for the fit to go on.
        gain: share of the loss: default 0.2%; exact labels still give 20% in 100 steps when it is 1e-16.
        evidence: whether the ridge is estimated; without it, it is zero.
    """

    name: ClassVar[str] = "lm"
    steps: ClassVar[int] = 4_000  # two seconds on 19 points with derivatives
    precision: ClassVar[str | None] = "float64"
    damping: float = 1e-3
    patience: int = 100
    gain: float = 0.002
    evidence: bool = True

    def minimize(self, objective: Objective, monitor: Monitor, *, steps: int) -> None:
        """Takes the steps (see ``Optimizer.minimize``); the history's loss of a step is the one after it.

        Raises:
            UsageError: the model's layers add losses, draw random numbers, or change weights of their own when they
                are called.
        """
        if (why_not := refusal(objective)) is not None:
            raise UsageError(f"{why_not}: use lbfgs or adam")
        residuals = residuals_of(objective)
        fewer = min(residuals.count, residuals.weights)
        cost = residuals.count * residuals.weights * fewer
        with (
            threadpool_limits(limits=None if cost > THREADED else 1, user_api="blas"),
            np.errstate(over="ignore", invalid="ignore"),  # steps to where numbers overflow are not taken
        ):
            _Descent(self, objective, residuals, monitor).run(steps)


def refusal(objective: Objective) -> str | None:
    """Says why ``lm`` cannot fit an objective; None where it can: its residuals are functions of its weights alone."""
    model = objective.model
    regularised = f"the model {model.name!r} adds losses of its own (regularisers), and lm makes sums of squares small"
    if read_graph(model, objective.trainable) is not None:
        return regularised if model.losses else None
    before = objective.snapshot()
    first, second = (objective.residuals()[0].numpy() for _ in range(2))
    after = objective.snapshot()
    objective.restore(before)
    if model.losses:
        return regularised
    same = all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))
    if same and np.array_equal(first, second, equal_nan=True):
        return None
    return (
        f"the model {model.name!r} gives another answer at each call, as with dropout or batch normalisation, and lm "
        "needs one that its weights decide"
    )


@final
class _Descent:
    """One fit: the point, the damping, the ridge, and what was not yet reported."""

    def __init__(self, settings: Lm, objective: Objective, residuals: Residuals, monitor: Monitor) -> None:
        self._settings = settings
        self._objective = objective
        self._residuals = residuals
        self._monitor = monitor
        self._point = np.concatenate([np.array(part, np.float64).ravel() for part in objective.trainable])
        errors, self._mae = residuals.at(self._point)
        self._loss = float(errors @ errors)
        self._first = self._loss
        self._equations: Damped = damped_at(residuals, self._point)
        mean = float(np.trace(self._equations.gram)) / residuals.count
        self._unit = mean if mean > 0 else 1.0
        self._mu, self._nu = settings.damping * self._unit, 2.0
        self._ridge = Ridge()
        self._done = 0
        self._past: list[float] = []
        self._pending: list[tuple[float, float]] = []
        self._reported = time.perf_counter()
        self._resume()

    def run(self, steps: int) -> None:
        """Takes steps until nothing is left to gain, or to do."""
        while self._done < steps and self._is_worth_it():
            self._step()
            self._done += 1
            self._pending.append((self._loss, self._mae))
            self._past = [*self._past[-self._settings.patience :], self._loss]
            is_last = self._monitor.time_is_up or not math.isfinite(self._loss)
            if (is_last or time.perf_counter() - self._reported > REPORT_SECONDS) and not self._flush():
                return
        self._flush()

    def _step(self) -> None:
        """Tries one step, and takes it if it gains."""
        if self._settings.evidence:
            self._ridge = self._ridge.estimated(
                self._done,
                self._equations,
                self._loss,
                first=self._first,
                size=float(self._point @ self._point),
                residuals=self._residuals.count,
            )
        step = self._equations.step(self._ridge.value, self._mu)
        if step is None:
            self._refuse()
            return
        point = self._point + step
        errors, mae = self._residuals.at(point)
        loss = float(errors @ errors)
        ridge = self._ridge.value
        gained = self._total() - loss - ridge * float(point @ point)
        predicted = self._equations.predicted(step, ridge)
        if not (gained > 0 and predicted > 0):
            self._refuse()
            return
        self._point, self._loss, self._mae = point, loss, mae
        self._equations = damped_at(self._residuals, point)
        self._mu *= max(SHRINK, 1 - (2 * gained / predicted - 1) ** 3)
        self._nu = 2.0

    def _refuse(self) -> None:
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

    def _flush(self) -> bool:
        """Leaves the point in the model, reports what was gathered, and says whether to go on."""
        if not self._pending:
            return self._monitor.status == "completed"
        self._move()
        losses, maes = zip(*self._pending, strict=True)
        self._pending.clear()
        self._monitor.offer(self._loss, self._objective.snapshot())
        go_on = self._monitor.report(np.array(losses), np.array(maes), self._settings.name, xla=self._residuals.xla)
        if go_on:
            self._monitor.checkpoint(self._state)
        self._reported = time.perf_counter()
        return go_on

    def _move(self) -> None:
        first = 0
        for variable in self._objective.trainable:
            size = int(np.prod(variable.shape))
            variable.assign(self._point[first : first + size].reshape(variable.shape))
            first += size

    def _state(self) -> dict[str, NDArray[Any]]:
        numbers = {"mu": self._mu, "nu": self._nu, "unit": self._unit, "first": self._first}
        ridge = {"ridge": self._ridge.value, "due": self._ridge.due, "seen": self._ridge.seen}
        state = {**numbers, **ridge, "done": self._done, "past": self._past}
        return {f"{self._settings.name}.{key}": np.asarray(value) for key, value in state.items()}

    def _resume(self) -> None:
        """Goes on from a checkpoint; the model has its weights already."""
        name, state = self._settings.name, self._monitor.resumed
        if state is None or f"{name}.done" not in state:
            return
        read = {key.removeprefix(f"{name}."): value for key, value in state.items()}
        self._mu, self._nu = float(read["mu"]), float(read["nu"])
        self._unit, self._first = float(read["unit"]), float(read["first"])
        self._ridge = Ridge(float(read["ridge"]), int(read["due"]), float(read["seen"]))
        self._done, self._past = int(read["done"]), read["past"].tolist()
