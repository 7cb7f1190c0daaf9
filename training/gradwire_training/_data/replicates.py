"""Rows with the same inputs: repeated measurements of one point, and the noise that they show."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from gradwire_training._data.columns import Table

# Steps of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): each mixes every bit into every other.
GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
MIX: Final = ((30, np.uint64(0xBF58476D1CE4E5B9)), (27, np.uint64(0x94D049BB133111EB)))
FEWEST_LEFT: Final = 5  # labels beyond the means of their points: of fewer a deviation is chance
ROUNDING: Final = 1e-9  # of a value: smaller differences are how it was computed or written, not noise


def number_points(x: Table) -> NDArray[np.int64]:
    """Number the distinct points among the rows from 0: rows with the same inputs get the same number.

    Rows are told apart by 64 mixed bits each: sorting those is some ten times as fast as sorting rows, and of a
    million rows two that differ share them once in 30 million files.
    """
    bits = np.zeros(len(next(iter(x.values()))), np.uint64)
    for column in x.values():
        for element in column.reshape(len(column), -1).T:
            bits = bits + GOLDEN ^ (element + 0.0).view(np.uint64)  # + 0.0: -0.0 is the same point as 0.0
            for shift, factor in MIX:
                bits = (bits ^ (bits >> np.uint64(shift))) * factor
            bits = bits ^ (bits >> np.uint64(31))
    _, numbers = np.unique(bits, return_inverse=True)
    return numbers.ravel()


def replicates_note(x: Table) -> str | None:
    """Return a line on points that occur more than once; None where none does.

    Rows that give derivatives along different directions, or one a value and one a derivative, are replicates
    too: all of them are fitted.
    """
    counts = np.bincount(number_points(x))
    if counts.max() == 1:
        return None
    return (
        f"{int((counts > 1).sum()):,} points occur more than once ({int(counts[counts > 1].sum()):,} of "
        f"{int(counts.sum()):,} rows): all are fitted, and the fit tends to their mean"
    )


def noise_of(numbers: NDArray[np.int64], column: NDArray[np.float64]) -> float | None:
    """Return the labels' noise that replicates tell: their pooled standard deviation, over the spread of all labels.

    Args:
        numbers: of the points, see ``number_points``.
        column: labels, ``(rows, *shape)``; NaN where one is missing. Of several elements the root mean square is told.

    Returns:
        The fraction; None where fewer than five labels are left over from the means of their points.
    """
    squares: list[float] = []
    for element in column.reshape(len(column), -1).T:
        known = np.isfinite(element)
        points, labels = numbers[known], element[known]
        counts = np.bincount(points)
        left = int((counts[counts > 0] - 1).sum())
        if left < FEWEST_LEFT or not labels.var():
            continue
        means = np.bincount(points, labels) / np.maximum(counts, 1)
        squares.append(float(((labels - means[points]) ** 2).sum() / left / labels.var()))
    return float(np.sqrt(np.mean(squares))) if squares else None


def shows_noise(x: Table, y: Table) -> bool:
    """Return whether some point has several values that differ; they are NaN in ``y`` where none is known."""
    numbers = number_points({name: np.asarray(column, np.float64) for name, column in x.items()})
    order = np.argsort(numbers, kind="stable")
    starts = np.flatnonzero(np.diff(numbers[order], prepend=-1))
    if len(starts) == len(order):
        return False
    for column in y.values():
        flat = column.reshape(len(column), -1)[order]
        lowest, highest = np.fmin.reduceat(flat, starts), np.fmax.reduceat(flat, starts)
        if np.any(highest - lowest > ROUNDING * np.abs(highest)):
            return True
    return False
