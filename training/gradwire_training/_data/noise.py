"""Noise on labels: adding some to a known function's, and seeing some in others'."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from gradwire._errors import UsageError
from gradwire_training._data.replicates import points
from gradwire_training._data.samples import Samples

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gradwire_training._data.truth import Table

NOISE_SEED: Final = 7_351  # beside the caller's: noise must not draw the numbers that placed the points
ROUNDING: Final = 1e-9  # of a value: smaller differences are how it was computed or written, not noise


def with_noise(samples: Samples, fraction: float, *, seed: int = 0) -> Samples:
    """Adds Gaussian noise to every label.

    Each number of ``y``, ``dydx`` and ``y_dot`` gets noise whose standard deviation is a fraction of that column's own
    standard deviation over the rows. What is known of the function stays, so that errors are measured against the truth.

    Args:
        samples: with labels that vary; they are left as they are.
        fraction: of the standard deviation, 0 or more; 0 gives the samples back.
        seed: the same seed gives the same noise.

    Raises:
        UsageError: a negative fraction, or one that is not finite.
    """
    if not (math.isfinite(fraction) and fraction >= 0):
        raise UsageError(f"noise is {fraction}, expected a finite number of 0 or more, such as 0.01")
    if not fraction:
        return samples
    generator = np.random.default_rng((NOISE_SEED, seed))

    def noisy(column: NDArray[np.float64]) -> NDArray[np.float64]:
        spread = np.nan_to_num(_spread(column))
        return column + fraction * spread * generator.standard_normal(column.shape)

    return Samples(
        samples.x,
        {name: noisy(column) for name, column in samples.y.items()},
        {output: {wrt: noisy(column) for wrt, column in by.items()} for output, by in samples.dydx.items()},
        x_dot=samples.x_dot or None,
        y_dot={name: noisy(column) for name, column in samples.y_dot.items()} or None,
        units=samples.units,
        provenance=samples.provenance,
        notes=(*samples.notes, f"noise of {fraction:g} standard deviations was added to every label"),
    )


def shows_noise(x: Table, y: Table) -> bool:
    """Says whether some point has several values that differ.

    Args:
        x: inputs by name, ``(rows, *row shape)``.
        y: values by name, NaN where none is known.
    """
    numbers = points({name: np.asarray(column, np.float64) for name, column in x.items()})
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


def _spread(column: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gives the standard deviation of what is known, number by number; 0 where nothing is."""
    present = np.isfinite(column)
    count = np.maximum(present.sum(axis=0), 1)
    centre = np.where(present, column, 0.0).sum(axis=0) / count
    return np.sqrt((np.where(present, column - centre, 0.0) ** 2).sum(axis=0) / count)
