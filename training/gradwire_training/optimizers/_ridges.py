"""How strong a ridge should be: as strong as the one with which rows that were held out are predicted best.

A fit that begins with a strong ridge and weakens it step by step passes from too smooth to too rough, each ridge
starting where the one before ended (a path: Friedman, Hastie and Tibshirani, J. Stat. Softw. 33, 2010). On the way the
rows that were held out (of few rows: those of every fold in turn, Stone, J. R. Stat. Soc. B 36, 1974) tell which ridge
predicts them best; the fit to all rows then takes the same path as far as that ridge. Few steps are taken at a ridge,
so that a path is an early stop as well: on it, noise has not been fitted yet when the signal has.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from gradwire_training._jacobian import Residuals, residuals_of
from gradwire_training._objective import Objective
from gradwire_training._progress import Monitor
from gradwire_training.optimizers._descent import Descent, few_threads
from gradwire_training.optimizers._folds import CHOOSING, COMPARED, FOLDS, folds_of, text_of, weights_of

Array: TypeAlias = "NDArray[np.float64]"

# Of the labels' variation over |p|^2 at the start: a stronger ridge draws all weights to zero, from where no weaker one
# brings them back.
FIRST: Final = 0.01
FALL: Final = 1 / 3  # from one ridge to the next
STEPS: Final = 10  # at one ridge, at most
SMALL: Final = 0.01  # fraction of |r|^2 + ridge |p|^2: a step that gains less is the last at its ridge
LAST: Final = 1e-18  # of the first ridge: rounding
PATIENCE: Final = 14  # ridges after the best one; exact labels may be predicted worse for a few, and better again
IMPATIENCE: Final = 6  # the same, where steps are few
FEW_STEPS: Final = 200
FINE: Final = 1e-3  # of the labels' spread: where rows held out are predicted as well, noise is left to the evidence
EXACT: Final = 1e-3  # of the error on rows held out: fitted labels that are met as closely are met exactly
TOO_FEW: Final = 40  # rows for another optimiser to be measured on some folds alone
TINY: Final = 1e-300
RISEN: Final = 2.0  # times the smallest loss on rows held out: noise is followed
WHOLE: Final = 2.0  # times what a fold takes, for another optimiser and the fit to all rows
SHARE: Final = 0.3  # of the seconds of a fit that may be spent on choosing a ridge


@final
class Path:
    """A descent along ridges, from strong to the last one; ``variation`` is the objective's."""

    def __init__(self, descent: Descent, *, variation: float, last: float) -> None:
        self._descent = descent
        self._last = last
        strong = FIRST * min(descent.first, variation) / descent.size if descent.size else 0.0
        self.ridge = max(strong, last)
        self.taken = 0  # steps at this ridge

    def step(self) -> bool:
        """Take a step, and return whether it is the last one at its ridge."""
        before = self._descent.total(self.ridge)
        self.taken += 1
        taken = self._descent.step(self.ridge)
        is_small = taken and before - self._descent.total(self.ridge) < SMALL * before
        return is_small or self.taken == STEPS or self._descent.is_stuck

    def weaken(self) -> bool:
        """Go on to the next ridge, and return whether there is one."""
        if self.ridge <= self._last:
            return False
        self.ridge, self.taken = max(FALL * self.ridge, self._last), 0
        return True


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A ridge, and the errors that led to it: root mean squares as fractions of the labels' spread.

    Attributes:
        ridge: None where the labels look exact: the error on rows held out fell to the end of the path, or a fit that
            goes through every label predicts them best.
        error: on rows held out, at that ridge; of several folds, the geometric mean.
        fitted: on the rows fitted beside them.
        last: on rows held out, at the weakest ridge.
        tried: how many ridges.
        rows: that were held out, as text.
        parts: which rows to measure another optimiser on; none where rows are too few.
        beside: the error on these rows alone.
        is_cut: whether time or steps ran out at that ridge with the error still falling: labels may still be exact.
    """

    ridge: float | None
    error: float
    fitted: float
    last: float
    tried: int
    rows: str
    parts: tuple[NDArray[np.bool_], ...]
    beside: float
    is_cut: bool = False


@final
@dataclass(frozen=True, slots=True)
class PathErrors:
    """Root mean square errors at every ridge of a path, from strong to weak, as fractions of the labels' spread.

    Attributes:
        held_out: ``(ridges, folds)``, on the rows of each fold.
        fitted: ``(ridges,)``, on the rows beside them; of several folds, the geometric mean.
        is_whole: whether the path was followed as far as it was worth; else time or steps ran out.
    """

    held_out: Array
    fitted: Array
    is_whole: bool


@final
@dataclass(frozen=True, slots=True)
class _Stage:
    """A ridge of the path, and the losses where the steps at it ended, by fold."""

    ridge: float
    held_out: tuple[float, ...]
    fitted: tuple[float, ...]


@final
class _Fold:
    """A fit to all rows but some, and those."""

    def __init__(self, objective: Objective, start: Array, held_out: NDArray[np.bool_], *, damping: float) -> None:
        inner = objective.take(np.flatnonzero(~held_out), anchors=True)
        outer = objective.take(np.flatnonzero(held_out), anchors=False)
        self.residuals: Residuals = residuals_of(inner)
        self.outer: Residuals = residuals_of(outer)
        self.descent = Descent(self.residuals, start, damping=damping)
        self.path = Path(self.descent, variation=objective.variation, last=0.0)

    def loss(self) -> float:
        """Return the sum of squares on the rows held out."""
        errors, _ = self.outer.at(self.descent.point)
        return float(errors @ errors)


def choose_ridge(objective: Objective, monitor: Monitor, *, damping: float, steps: int, seed: int = 0) -> Choice | None:
    """Follow a path of ridges on some of the rows, and measure it on the others.

    Args:
        objective: of all rows; its variables are left as they are.
        monitor: asked several times a second whether to go on.
        damping: as in ``Lm``.
        steps: at most, of all folds together.
        seed: of what is held out.

    Returns:
        The choice; None where too little can be held out to tell anything, or the monitor ended it before it could.
    """
    parts, _ = folds_of(objective, seed=seed)
    choice = _chosen(objective, monitor, parts[:FOLDS], damping=damping, steps=steps)
    if choice is None or choice.ridge is None or len(parts) <= FOLDS:
        return choice
    return _chosen(objective, monitor, parts, damping=damping, steps=steps) or choice  # exact labels need no more


def _chosen(
    objective: Objective, monitor: Monitor, parts: Sequence[NDArray[np.bool_]], *, damping: float, steps: int
) -> Choice | None:
    """Return the choice that some folds make."""
    walked = _walked(parts, objective, monitor, damping=damping, steps=steps, share=SHARE)
    if walked is None or not objective.variation:
        return None
    folds, curve, is_whole = walked
    best, last = curve[_best(curve)], curve[-1]
    spread = objective.variation / objective.label_count
    outer, inner = [fold.outer.count for fold in folds], [fold.residuals.count for fold in folds]
    held_out, fitted = _error(best.held_out, outer, spread), _error(best.fitted, inner, spread)
    beside = tuple(parts[:COMPARED] if objective.count > TOO_FEW else ())
    if held_out > 1 and len(folds) > 1:  # no better than the labels' mean: too few rows to tell anything by
        return None
    is_exact, is_cut = fitted < EXACT * held_out, best is last and not is_whole
    return Choice(
        ridge=None if is_exact or (best is last and is_whole) else best.ridge,
        error=held_out,
        fitted=fitted,
        last=_error(last.held_out, outer, spread),
        tried=len(curve),
        rows=text_of(parts, objective.count),
        parts=beside,
        beside=_error(best.held_out[: len(beside)], outer, spread) if beside else held_out,
        is_cut=is_cut,
    )


def errors_along(
    parts: Sequence[NDArray[np.bool_]], objective: Objective, monitor: Monitor, *, damping: float, steps: int
) -> PathErrors | None:
    """Follow a path of ridges on the rows that each fold leaves, and return the errors on the way.

    Args:
        parts: which rows each fold holds out.
        objective: of all rows; its variables are left as they are.
        monitor: asked several times a second whether to go on, to the end of its seconds.
        damping: as in ``Lm``.
        steps: at most, of all folds together.

    Returns:
        The errors; None where no ridge was measured.
    """
    walked = _walked(parts, objective, monitor, damping=damping, steps=steps, share=1.0)
    if walked is None or not objective.variation:
        return None
    folds, curve, is_whole = walked
    spread = objective.variation / objective.label_count
    held_out = [
        [_error([loss], [fold.outer.count], spread) for loss, fold in zip(stage.held_out, folds, strict=True)]
        for stage in curve
    ]
    fitted = [_error(stage.fitted, [fold.residuals.count for fold in folds], spread) for stage in curve]
    return PathErrors(np.array(held_out), np.array(fitted), is_whole)


def error_after(
    steps: int, parts: Sequence[NDArray[np.bool_]], objective: Objective, monitor: Monitor, *, damping: float
) -> float | None:
    """Return the error on held-out rows after some steps without a ridge, as those of exact labels are taken.

    It is the root mean square as a fraction of the labels' spread, of several folds the geometric mean. None where the
    monitor ended the steps, or where they made it larger again: they follow noise.
    """
    before, ends, counts = objective.snapshot(), list[float](), list[int]()
    spread = objective.variation / objective.label_count
    start = weights_of(objective.trainable)
    try:
        for part in parts:
            fold = _Fold(objective, start, part, damping=damping)
            at, share = fold.descent, monitor.share_for(len(parts) - len(ends), WHOLE)
            smallest, least = math.inf, FINE**2 * spread * fold.outer.count  # below that a loss may rise by rounding
            with few_threads(fold.residuals), np.errstate(over="ignore", invalid="ignore"):
                for step in range(steps):
                    at.step(0.0)
                    if step % STEPS == 0:
                        loss = fold.loss()
                        if loss > RISEN * max(least, smallest):
                            return None
                        smallest = min(smallest, loss)
                    if not monitor.goes_on(at.loss, at.mae, CHOOSING, share=share):
                        return None
            ends.append(fold.loss())
            counts.append(fold.outer.count)
    finally:
        objective.restore(before)
    return _error(ends, counts, spread)


def _walked(
    parts: Sequence[NDArray[np.bool_]],
    objective: Objective,
    monitor: Monitor,
    *,
    damping: float,
    steps: int,
    share: float,
) -> tuple[list[_Fold], list[_Stage], bool] | None:
    """Follow the path on every fold; return also whether that is as far as it was worth following."""
    if not parts:
        return None
    before = objective.snapshot()
    start = weights_of(objective.trainable)
    try:
        folds = [_Fold(objective, start, part, damping=damping) for part in parts]
        if not all(fold.path.ridge and fold.outer.count for fold in folds):
            return None
        with few_threads(folds[0].residuals), np.errstate(over="ignore", invalid="ignore"):
            spread = objective.variation / objective.label_count
            curve, is_whole = _follow(folds, monitor, steps, spread=spread, share=share)
    finally:
        objective.restore(before)
    return (folds, curve, is_whole) if curve else None


def _error(losses: Sequence[float], counts: Sequence[int], spread: float) -> float:
    """Return the root mean square of residuals as a fraction of the labels'; of folds, the geometric mean."""
    means = [max(loss / count, TINY) for loss, count in zip(losses, counts, strict=False)]
    return math.sqrt(math.exp(statistics.fmean(map(math.log, means))) / spread)


def _best(curve: Sequence[_Stage]) -> int:
    """Return where rows held out are predicted best: by logarithms, else the fold with the outermost row decides."""
    return int(np.argmin([sum(math.log(max(loss, TINY)) for loss in stage.held_out) for stage in curve]))


def _follow(
    folds: list[_Fold], monitor: Monitor, steps: int, *, spread: float, share: float
) -> tuple[list[_Stage], bool]:
    """Return ridges and losses, and whether that is as far as the path was worth following.

    It is while errors on rows held out are more than a fine fraction of the labels', whose mean square is ``spread``,
    and fall or may fall again.
    """
    curve: list[_Stage] = []
    taken, counts = 0, [fold.outer.count for fold in folds]
    weakest = LAST * folds[0].path.ridge
    while True:
        for fold in folds:
            is_last = False
            while not is_last:
                is_last = fold.path.step()
                taken += 1
                at = fold.descent
                if taken >= steps or not monitor.goes_on(at.loss, at.mae, CHOOSING, share=share):
                    return curve, False
        ridge = folds[0].path.ridge
        curve.append(_Stage(ridge, tuple(fold.loss() for fold in folds), tuple(fold.descent.loss for fold in folds)))
        best = _best(curve)
        is_fine = curve[best] is curve[-1] and _error(curve[-1].held_out, counts, spread) < FINE
        is_long = len(curve) - best > (PATIENCE if steps > FEW_STEPS else IMPATIENCE)
        if ridge < weakest or is_long or is_fine or all(fold.descent.is_stuck for fold in folds):
            return curve, True
        for fold in folds:
            fold.path.weaken()
