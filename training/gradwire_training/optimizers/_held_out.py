"""How well fits predict rows that they do not see: what candidates for a network are compared by."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from gradwire_training._jacobian import is_swept
from gradwire_training._objective import Objective
from gradwire_training._progress import Monitor
from gradwire_training.optimizers._early_stop import choose_stop
from gradwire_training.optimizers._folds import COMPARED, FOLDS, Folds, is_falling
from gradwire_training.optimizers._lbfgs import Lbfgs
from gradwire_training.optimizers._lm import Lm, step_work
from gradwire_training.optimizers._ridges import FINE, errors_along

Parts: TypeAlias = "Sequence[NDArray[np.bool_]]"

PATH_STEPS: Final = 150  # of lm along a path, on one fold; exact labels take twice as many
FOLDS_WORK: Final = 6e10  # multiplications of a path on all folds: some two seconds
MOST_PATH_WORK: Final = 1.2e11  # likewise, on one fold at least
STOP_WORK: Final = 4e9  # weights times labels times steps of lbfgs, of all folds: some two seconds
STOP_STEPS: Final = 1_500  # of lbfgs, on one fold
FEWEST_STEPS: Final = 200  # of lbfgs: fewer tell nothing
MET: Final = 0.03  # of the error on rows held out: fitted labels that are met as closely are perhaps exact


@final
@dataclass(frozen=True, slots=True)
class HeldOutError:
    """Root mean square errors on rows held out, as fractions of the labels' spread, where the fits are best.

    Attributes:
        by_fold: of every fold.
        is_final: whether more steps, or more rows, would leave it as it is, for labels are noisy.
    """

    by_fold: tuple[float, ...]
    is_final: bool

    @property
    def mean(self) -> float:
        """The geometric mean of all folds."""
        return math.exp(statistics.fmean(map(math.log, self.by_fold)))

    def of(self, folds: int) -> HeldOutError:
        """Return that of the first folds."""
        return HeldOutError(self.by_fold[:folds], self.is_final)


def path_folds(objective: Objective) -> int:
    """Return on how many folds paths of ridges of lm can be followed in some two seconds; 0 for none."""
    if objective.features.why_not(Lm.honours) is not None or not is_swept(objective):
        return 0
    work = _path_work(objective)
    return int(np.clip(FOLDS_WORK / work, work <= MOST_PATH_WORK, FOLDS))


def error_along_path(objective: Objective, monitor: Monitor, parts: Parts) -> HeldOutError | None:
    """Return the smallest error along a path of ridges; None where none was measured, or it would take too long."""
    if len(parts) * _path_work(objective) > MOST_PATH_WORK:
        return None
    steps = 2 * PATH_STEPS * len(parts)
    path = errors_along(parts, objective, monitor, damping=Lm().damping, steps=steps)
    if path is None:
        return None
    means = np.exp(np.log(path.held_out).mean(axis=1)).tolist()
    best = int(np.argmin(means))
    errors, error = path.held_out[best], means[best]
    is_exact = is_falling(means) or error < FINE or path.fitted[best] < MET * error
    return HeldOutError(tuple(errors.tolist()), path.is_whole and not is_exact)


def error_at_stop(objective: Objective, monitor: Monitor, parts: Parts) -> HeldOutError | None:
    """Return the smallest error on the way of lbfgs, of two folds at most; None where too few steps can be taken."""
    parts = parts[:COMPARED]
    work = float(objective.weight_count) * objective.label_count * len(parts)
    steps = int(min(STOP_WORK / work, STOP_STEPS))
    if steps < FEWEST_STEPS or objective.features.why_not(Lbfgs.honours) is not None:
        return None
    stop = choose_stop(Folds(objective, parts), monitor, steps=steps, most=steps)
    if stop is None:
        return None
    is_open = stop.is_falling or stop.fitted < MET * stop.error
    return HeldOutError((stop.error,) * len(parts), not is_open and not stop.is_cut)


def _path_work(objective: Objective) -> float:
    """Return the number of multiplications along a path, on one fold."""
    return PATH_STEPS * step_work(objective)
