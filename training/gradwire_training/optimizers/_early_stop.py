"""When L-BFGS should stop: where rows held out are predicted best (Prechelt, Early stopping - but when?, 1998).

With noise, steps that follow the gradient alone reach a better fit than Levenberg-Marquardt's on some tables, for they
move far in the directions that many labels tell, and little in those that few do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from gradwire_training._progress import Monitor
from gradwire_training.optimizers._folds import CHOOSING, Folds, best_of, is_falling
from gradwire_training.optimizers._lbfgs import Lbfgs, Surface

Array: TypeAlias = "NDArray[np.float64]"

EVERY: Final = 25  # steps from one measurement to the next
PATIENCE: Final = 20  # measurements without a smaller error, at least
LONGER: Final = 1.5  # times the steps to the smallest error: as far a fit goes on to see whether it becomes smaller
WHOLE: Final = 1.25  # times what a fold takes, for the fit to all rows


@final
@dataclass(frozen=True, slots=True)
class Stop:
    """A number of steps, and the root mean square error there on rows held out, as a fraction of the labels' spread.

    Attributes:
        steps: of the whole fit.
        error: at that step; of several folds, the geometric mean.
        fitted: that on the rows fitted beside them, at that step.
        is_falling: whether the error still fell where the steps ended.
        is_cut: whether time ended them.
    """

    steps: int
    error: float
    fitted: float = 0.0
    is_falling: bool = False
    is_cut: bool = False


def choose_stop(folds: Folds, monitor: Monitor, *, steps: int, most: int, others: int = 0) -> Stop | None:
    """Fit some of the rows, and measure the others on the way.

    Args:
        folds: of the objective, whose variables are left as they are.
        monitor: asked several times a second whether to go on.
        steps: of a fit whose error still falls by then as that of exact labels does.
        most: of any other.
        others: how many fits of another optimiser are to have as much time.

    Returns:
        Where the error is smallest; None where nothing was measured.
    """
    before, surface = folds.objective.snapshot(), Surface(folds.objective)
    try:
        count = len(folds.parts)
        surface.evaluate(surface.start)  # compiled before the time is divided
        runs: list[tuple[list[tuple[float, float]], bool]] = []
        for fold in range(count):
            share = monitor.share_for(count - fold + others, WHOLE)
            runs.append(_follow(folds, surface, monitor, fold, (steps, most), share))
            if is_falling([error for error, _ in runs[0][0]]):
                most = min(most, EVERY * len(runs[0][0]))  # the others need to go no further
    finally:
        folds.objective.restore(before)
    curves = [curve for curve, _ in runs]
    if not all(curves):
        return None
    best, errors = best_of([[error for error, _ in curve] for curve in curves])
    _, fitted = best_of([[error for _, error in curve] for curve in curves])
    is_cut = any(is_cut for _, is_cut in runs)
    return Stop(EVERY * (best + 1), errors[best], fitted[best], is_falling(errors), is_cut)


def _follow(
    folds: Folds, surface: Surface, monitor: Monitor, fold: int, ends: tuple[int, int], share: float
) -> tuple[list[tuple[float, float]], bool]:
    """Return the errors on one fold and on the rows beside it, of every so many steps; and whether time ended it.

    It ends at the first of the two ends where the error still falls, else at the second.
    """
    folds.hold_out(fold)
    errors: list[tuple[float, float]] = []
    best = done = 0
    has_time = True

    def after(point: Array, loss: float, mae: float, _: bool) -> bool:
        nonlocal best, done, has_time
        done += 1
        if done % EVERY == 0:
            errors.append((folds.error(fold, point), folds.fitted_error(fold, loss)))
            best = min(range(len(errors)), key=lambda index: errors[index][0])
            if len(errors) - 1 - best >= max(PATIENCE, (LONGER - 1) * best):
                return False
            if done <= ends[0] < done + EVERY and is_falling([error for error, _ in errors]):
                return False
        has_time = monitor.goes_on(loss, mae, CHOOSING, share=share)
        return has_time

    Lbfgs().descend(surface, surface.start, after, steps=ends[1])
    return errors, not has_time
