"""Rows that are held out of a fit to choose by: of few rows, those of every fold in turn, of very few several times.

(Stone, J. R. Stat. Soc. B 36, 1974; repeated: Burman, Biometrika 76, 1989.) Of many rows a fifth tells enough. All
folds are fitted by one compiled program: what changes from one to the next is the weight of each row, 0 for those held
out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from gradwire_training._data import number_points
from gradwire_training._jacobian import Residuals, is_swept, residuals_of
from gradwire_training._models import array_of
from gradwire_training._objective import Compiled, Objective

Array: TypeAlias = "NDArray[np.float64]"

FOLDS: Final = 5
FEWEST: Final = 15  # points: of fewer, a fold has one or two
# How often each point is held out, by the largest number of points. Of 19 noisy rows once chose a ridge with 2.3 times
# the error against the truth that three times did, and of 200 a single fifth one with 2 to 3 times that of five folds.
TIMES: Final = {40: 3, 100: 2, 400: 1}
COMPARED: Final = 2  # folds that optimisers are compared on
AT_THE_END: Final = 0.9  # of the way: an error that is smallest behind it may still fall
FALLING: Final = 0.8  # of the error half the way before: exact labels are predicted better, noise leaves it there
CHOOSING: Final = "choosing by held-out rows"  # what callbacks hear is at work
RANDOM_STREAM: Final = 4  # of random numbers, apart from those behind points, weights, and rows held out to be measured


@final
class Folds:
    """Some folds of an objective's rows: fits leave them out in turn, and are measured on them.

    Args:
        objective: of all rows; its variables are those of every fit.
        parts: which rows each fold holds out.

    Attributes:
        objective: of the rows that the fold of now does not hold out.
        parts: as given.
    """

    def __init__(self, objective: Objective, parts: Sequence[NDArray[np.bool_]]) -> None:
        self.parts = tuple(parts)
        self.objective, self._roots = objective.with_settable_weights()
        self._whole, self._variation = objective, objective.variation
        self._all = np.array(self._roots)
        self._sums = None if is_swept(objective) else Compiled(self.objective.sum_of_squares, xla=objective.suits_xla)
        self._residuals: list[Residuals | None] = [None] * len(self.parts)

    def hold_out(self, fold: int) -> None:
        """Leave the rows of a fold out of ``objective``."""
        self._roots.assign(self._without(self.parts[fold]))

    def error(self, fold: int, point: Array) -> float:
        """Return the root mean square on a fold's rows as a fraction of the labels' spread.

        Args:
            fold: its number.
            point: all trained weights in one vector; the objective's variables may be moved there.
        """
        rows = np.flatnonzero(self.parts[fold])
        outer = self._whole.take(rows, anchors=False)
        if self._sums is None:
            if (residuals := self._residuals[fold]) is None:
                residuals = self._residuals[fold] = residuals_of(outer)
            errors, _ = residuals.at(point)
            loss = float(errors @ errors)
        else:
            before = np.array(self._roots)
            self._whole.move_to(point)
            self._roots.assign(self._without(~self.parts[fold], anchors=False))
            loss = float(self._sums())
            self._roots.assign(before)
        return math.sqrt(loss / (self._variation * outer.label_count / self._whole.label_count))

    def fitted_error(self, fold: int, loss: float) -> float:
        """Return the same on the rows that a fold does not hold out, where a fit's loss is known."""
        fraction = 1 - float(np.mean(self.parts[fold]))
        return math.sqrt(loss / (self._variation * fraction))

    def _without(self, rows: NDArray[np.bool_], *, anchors: bool = True) -> Array:
        left_out = np.append(rows, np.full(self._whole.anchors, not anchors))
        return np.where(left_out, 0.0, self._all)


def folds_of(objective: Objective, *, seed: int = 0) -> tuple[list[NDArray[np.bool_]], str]:
    """Return which rows each fold holds out, and that as text; rows with the same inputs stay together.

    No fold where rows are too few to tell anything.
    """
    points = number_points({name: column[: objective.count] for name, column in objective.x.items()})
    count = int(points.max()) + 1
    if count < FEWEST:
        return [], ""
    generator = np.random.default_rng(np.random.SeedSequence((seed, RANDOM_STREAM)))
    times = next((times for most, times in TIMES.items() if count <= most), 0)
    orders = [generator.permutation(count) for _ in range(max(times, 1))]
    parts = [np.isin(points, order[first::FOLDS]) for order in orders for first in range(FOLDS if times else 1)]
    return parts, text_of(parts, objective.count)


def text_of(parts: Sequence[NDArray[np.bool_]], rows: int) -> str:
    """Return the folds in words."""
    if len(parts) < FOLDS:
        return f"{int(parts[0].sum()):,} of {rows:,} rows, held out,"
    times = len(parts) // FOLDS
    return f"{rows:,} rows, each held out {'once' if times == 1 else f'{times} times'},"


def best_of(curves: Sequence[Sequence[float]]) -> tuple[int, list[float]]:
    """Return where the error is smallest, and the errors along the way: of several folds, geometric means.

    A curve that ended before the others stays where it was.
    """
    longest = max(map(len, curves))
    padded = np.array([[*curve, *[curve[-1]] * (longest - len(curve))] for curve in curves])
    means: Any = np.exp(np.mean(np.log(np.maximum(padded, np.finfo(float).tiny)), axis=0))
    return int(np.argmin(means)), means.tolist()


def is_falling(errors: Sequence[float]) -> bool:
    """Return whether the error is smallest near the end, and much smaller than half the way before."""
    best = int(np.argmin(errors)) if errors else 0
    return bool(errors) and best > (len(errors) - 1) * AT_THE_END and errors[best] < FALLING * errors[best // 2]


def weights_of(variables: Iterable[Any]) -> Array:
    """Return weights in one vector."""
    return np.concatenate([part.ravel() for part in map(array_of, variables)], dtype=np.float64)
