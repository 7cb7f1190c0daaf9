"""When L-BFGS should stop: where rows held out are predicted best (Prechelt, Early stopping - but when?, 1998).

With noise, steps that follow the gradient alone reach a better fit than Levenberg-Marquardt's on some tables, for they
move far in the directions that many labels tell, and little in those that few do.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from gradwire_training._jacobian import residuals_of
from gradwire_training._models import array_of
from gradwire_training._objective import Objective
from gradwire_training._progress import Monitor
from gradwire_training.optimizers._lbfgs import Lbfgs
from gradwire_training.optimizers._ridges import CHOOSING

Array: TypeAlias = "NDArray[np.float64]"

EVERY: Final = 25  # steps from one measurement to the next
PATIENCE: Final = 40  # measurements without a smaller error
SHARE: Final = 0.6  # of the seconds of a fit, after which no more is spent on choosing


@final
@dataclass(frozen=True, slots=True)
class Stop:
    """A number of steps, and the root mean square error there on rows held out, as a fraction of the labels' spread."""

    steps: int
    error: float


def choose_stop(
    objective: Objective, monitor: Monitor, parts: Sequence[NDArray[np.bool_]], *, steps: int
) -> Stop | None:
    """Fit some of the rows, and measure the others on the way.

    Args:
        objective: of all rows; its variables are left as they are.
        monitor: asked several times a second whether to go on.
        parts: which rows are held out; for each a fit.
        steps: of a fit, at most.

    Returns:
        Where the error is smallest, by geometric means; None where nothing was measured.
    """
    before = objective.snapshot()
    stops: list[Stop] = []
    for part in parts:
        try:
            stops.append(_follow(objective, monitor, part, steps))
        finally:
            objective.restore(before)
    if not all(stop.steps and stop.error for stop in stops):
        return None
    return Stop(
        round(statistics.geometric_mean(stop.steps for stop in stops)),
        statistics.geometric_mean(stop.error for stop in stops),
    )


def _follow(objective: Objective, monitor: Monitor, part: NDArray[np.bool_], steps: int) -> Stop:
    """Return where the error on one part is smallest."""
    inner = objective.take(np.flatnonzero(~part), anchors=True)
    outer = residuals_of(objective.take(np.flatnonzero(part), anchors=False))
    best, done = Stop(0, math.inf), 0
    scale = objective.variation * outer.count / objective.label_count

    def after(point: Array, loss: float, mae: float, _: bool) -> bool:
        nonlocal best, done
        done += 1
        if done % EVERY == 0:
            errors, _mae = outer.at(point)
            error = math.sqrt(float(errors @ errors) / scale)
            best = Stop(done, error) if error < best.error else best
            if done - best.steps >= PATIENCE * EVERY:
                return False
        return monitor.goes_on(loss, mae, CHOOSING, share=SHARE)

    start = np.concatenate([weight.ravel() for weight in map(array_of, objective.trainable)], dtype=np.float64)
    Lbfgs().descend(inner, start, after, steps=steps)
    return best
