"""L-BFGS in float64, by SciPy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Final, TypeAlias, final

import numpy as np
import scipy.optimize
import tensorflow as tf
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from typing_extensions import override

from gradwire_training._models import Feature, is_non_negative
from gradwire_training._objective import Compiled, Objective
from gradwire_training._progress import Monitor
from gradwire_training.optimizers._optimizer import Optimizer
from gradwire_training.optimizers._reporting import Reporter

Array: TypeAlias = "NDArray[np.float64]"
Callback: TypeAlias = Callable[[Array, float, float, bool], bool]

UNLIMITED: Final = 2**31 - 1  # evaluations: the steps are the limit, and each takes 1.2 of them


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Lbfgs(Optimizer):
    """Limited-memory BFGS (Liu and Nocedal, Math. Programming 45, 1989; SciPy's L-BFGS-B).

    It ends when the line search cannot lower the loss, when the gradient is flat, or after the last step; the history's
    loss of a step is the one after it. Weights that may not be negative (NonNeg) are bounded below. It needs float64:
    with 19 points, fits in float32 end at errors of log x near 2e-4, in float64 at 3e-5.

    Attributes:
        memory: number of pairs of steps and gradient differences in the approximation of the Hessian: default 30; with
            10 the logarithm ended at twice the error, with 50 at the same.
        flat: largest component of the gradient at which it ends: default 1e-12, near what rounding leaves.
    """

    name: ClassVar[str] = "lbfgs"
    steps: ClassVar[int] = 5_000  # three seconds on a small network
    precision: ClassVar[str | None] = "float64"
    honours: ClassVar[frozenset[Feature]] = frozenset(
        {Feature.LOSSES, Feature.BOUNDS, Feature.STATISTICS, Feature.TRAINING, Feature.SIGNS}
    )
    memory: int = 30
    flat: float = 1e-12

    @override
    def minimize(self, objective: Objective, monitor: Monitor, *, steps: int) -> None:
        reporter = Reporter(objective, monitor, self.name)
        objective.hold(resumed=reporter.resumed is not None)

        def step(point: Array, loss: float, mae: float, xla: bool) -> bool:
            return reporter.step(point, loss, mae, xla=xla)

        end, xla = self.descend(Surface(objective), reporter.start(), step, steps=steps - reporter.done)
        reporter.finish(end, xla=xla)

    def descend(self, surface: Surface, start: Array, after: Callback, *, steps: int) -> tuple[Array, bool]:
        """Take steps from a point, and return where they ended, and whether XLA compiled them.

        ``after`` gets the point of each step, its loss, its mean absolute error and whether XLA compiled it, and
        returns whether to go on.
        """
        bounds = _bounds(surface.objective)

        def callback(intermediate_result: scipy.optimize.OptimizeResult) -> None:
            at = intermediate_result
            if not after(at.x, float(at.fun), surface.mae, surface.compiled.xla):
                raise StopIteration  # SciPy's way to be told to stop

        options = {
            "maxiter": max(steps, 0),
            "maxfun": UNLIMITED,
            "maxcor": self.memory,
            "gtol": self.flat,
            "ftol": 0.0,
        }
        # SciPy's small factorisations gain nothing from threads, and OpenBLAS's threads spin while they wait: on a
        # machine that is busy otherwise a fit of 4 s took 39 s.
        with threadpool_limits(limits=1, user_api="blas"):
            end = scipy.optimize.minimize(
                surface.evaluate,
                start,
                jac=True,
                method="L-BFGS-B",
                bounds=bounds,
                callback=callback,
                options=options,
            )
        return end.x, surface.compiled.xla


def _bounds(objective: Objective) -> scipy.optimize.Bounds | None:
    """Return the lower bounds of all weights in one vector; None without any."""
    if Feature.BOUNDS not in objective.features:
        return None
    lower = [np.full(variable.shape, 0 if is_non_negative(variable) else -np.inf) for variable in objective.trainable]
    flat: Any = np.concatenate([part.ravel() for part in lower])  # SciPy's types know scalars only
    return scipy.optimize.Bounds(flat, np.inf)


@final
class Surface:
    """The objective as a function of one flat vector; compiled once."""

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self._values = [variable.value for variable in objective.trainable]
        self._sizes = [int(np.prod(value.shape)) for value in self._values]
        self.compiled = Compiled(self._evaluate, xla=objective.suits_xla)
        self.mae = 0.0

    @property
    def start(self) -> Array:
        """The weights of now, in one vector."""
        return np.concatenate([np.ravel(value.numpy()) for value in self._values], dtype=np.float64)

    def evaluate(self, point: Array) -> tuple[float, Array]:
        loss, mae, gradient = self.compiled(tf.constant(point))
        self.mae = float(mae)
        return float(loss), gradient.numpy()

    def _evaluate(self, point: Any) -> tuple[Any, Any, Any]:
        for value, part in zip(self._values, tf.split(point, self._sizes), strict=True):
            value.assign(tf.reshape(part, value.shape))
        loss, mae, gradients = self.objective.gradient()
        return loss, mae, tf.concat([tf.reshape(gradient, [-1]) for gradient in gradients], 0)
