"""L-BFGS in float64, by SciPy."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, final

import numpy as np
import scipy.optimize
import tensorflow as tf
from threadpoolctl import threadpool_limits

from gradwire_training._objective import Compiled
from gradwire_training.optimizers._optimizer import Optimizer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gradwire_training._objective import Objective
    from gradwire_training._progress import Monitor

REPORT_SECONDS: Final = 0.1  # between reports: a step takes under a millisecond, a progress bar more
DONE: Final = "lbfgs.done"  # in checkpoints: steps that were taken
UNLIMITED: Final = 2**31 - 1  # evaluations: the steps are the limit, and each takes 1.2 of them


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Lbfgs(Optimizer):
    """Limited-memory BFGS (Liu and Nocedal, Math. Programming 45, 1989; SciPy's L-BFGS-B without bounds).

    It ends when the line search finds nothing smaller, when the gradient is flat, or after the last step. It
    needs float64: with 19 points, fits in float32 end at errors of log x near 2e-4, in float64 at 3e-5.

    Attributes:
        memory: pairs of steps and gradients kept: default 30; with 10 the logarithm ended at twice the error,
            with 50 at the same.
        flat: largest component of the gradient at which it ends: default 1e-12, near what rounding leaves.
    """

    name: ClassVar[str] = "lbfgs"
    steps: ClassVar[int] = 5_000  # three seconds on a small network
    precision: ClassVar[str | None] = "float64"
    memory: int = 30
    flat: float = 1e-12

    def minimize(self, objective: Objective, monitor: Monitor, *, steps: int) -> None:
        """Takes the steps (see ``Optimizer.minimize``); the history's loss of a step is the one after it."""
        surface = _Surface(objective)
        done = int((monitor.resumed or {}).get(DONE, 0))
        reporter = _Reporter(surface, monitor, self.name, done)
        options = {
            "maxiter": max(steps - done, 0),
            "maxfun": UNLIMITED,
            "maxcor": self.memory,
            "gtol": self.flat,
            "ftol": 0.0,
        }
        # SciPy's small factorisations gain nothing from threads, and OpenBLAS's spin while they wait: on a
        # machine that is busy otherwise a fit of 4 s took 39 s.
        with threadpool_limits(limits=1, user_api="blas"):
            found = scipy.optimize.minimize(
                surface.evaluate,
                surface.start(),
                jac=True,
                method="L-BFGS-B",
                callback=reporter,
                options=options,
            )
        surface.move(found.x)
        reporter.flush()

    @staticmethod
    def is_resumed(monitor: Monitor) -> bool:
        """Says whether a fit was killed while this optimiser was at work, and goes on now."""
        return DONE in (monitor.resumed or {})


@final
class _Surface:
    """The objective as a function of one flat vector."""

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self._values = [variable.value for variable in objective.trainable]
        self._sizes = [int(np.prod(value.shape)) for value in self._values]
        self.compiled = Compiled(self._evaluate)
        self.mae = 0.0

    def start(self) -> NDArray[np.float64]:
        return np.concatenate([value.numpy().ravel() for value in self._values])

    def move(self, point: NDArray[np.float64]) -> None:
        for value, part in zip(self._values, np.split(point, np.cumsum(self._sizes)[:-1]), strict=True):
            value.assign(part.reshape(value.shape))

    def evaluate(self, point: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        loss, mae, gradient = self.compiled(tf.constant(point))
        self.mae = float(mae)
        return float(loss), gradient.numpy()

    def _evaluate(self, point: Any) -> tuple[Any, Any, Any]:
        for value, part in zip(self._values, tf.split(point, self._sizes), strict=True):
            value.assign(tf.reshape(part, value.shape))
        loss, mae, gradients = self.objective.gradient()
        return loss, mae, tf.concat([tf.reshape(gradient, [-1]) for gradient in gradients], 0)


@final
class _Reporter:
    """SciPy's callback: gathers steps, and reports them to the monitor several times a second."""

    def __init__(self, surface: _Surface, monitor: Monitor, name: str, done: int) -> None:
        self._done = done
        self._surface = surface
        self._monitor = monitor
        self._name = name
        self._steps: list[tuple[float, float]] = []
        self._reported = time.perf_counter()

    def __call__(self, intermediate_result: scipy.optimize.OptimizeResult) -> None:
        self._steps.append((float(intermediate_result.fun), self._surface.mae))
        if time.perf_counter() - self._reported < REPORT_SECONDS and np.isfinite(intermediate_result.fun):
            return
        self._surface.move(intermediate_result.x)
        self._monitor.offer(self._steps[-1][0], self._surface.objective.snapshot())
        if not self.flush():
            raise StopIteration  # SciPy's way to be told to stop

    def flush(self) -> bool:
        """Reports what was gathered; says whether to go on."""
        if not self._steps:
            return self._monitor.status == "completed"
        losses, maes = zip(*self._steps, strict=True)
        self._steps.clear()
        self._done += len(losses)
        go_on = self._monitor.report(np.array(losses), np.array(maes), self._name, xla=self._surface.compiled.xla)
        if go_on:  # the model has the weights of the last step: what calls this has moved there
            self._monitor.checkpoint(lambda: {DONE: np.array(self._done)})
        self._reported = time.perf_counter()
        return go_on
