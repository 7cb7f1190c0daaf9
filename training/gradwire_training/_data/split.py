"""Samples split in two: rows held out to measure on, and rows whose values anchor a fit of derivatives."""

from __future__ import annotations

from typing import Final

import numpy as np

from gradwire._errors import DataError, UsageError
from gradwire_training._data.columns import Role, rows_with_labels
from gradwire_training._data.replicates import number_points
from gradwire_training._data.samples import Samples

SHARE: Final = 0.2  # enough to measure by, and four fifths of the labels are left to learn from
LEAST: Final = 20  # rows: of fewer, each is worth more to the fit than to its measurement
RANDOM_STREAM: Final = 2  # of random numbers, apart from those behind points and weights


def hold_out(
    samples: Samples, *, share: float = SHARE, seed: int = 0, least: int = LEAST
) -> tuple[Samples, Samples | None]:
    """Split rows at random into those to fit and those to measure on.

    Rows with the same inputs stay together, so that nothing is measured that was fitted.

    Args:
        samples: all rows.
        share: fraction of the points that are held out, from 0 to below 1; default a fifth.
        seed: of the choice.
        least: how many rows there must be; of fewer, none is held out. Default 20.

    Returns:
        The rows to fit, and the rows held out, both in their order; None where none is held out. Rows with the weight 0
        are in neither.

    Raises:
        UsageError: a fraction out of range.
        DataError: the weights of all rows are 0.
    """
    if not 0 <= share < 1:
        raise UsageError(f"share {share} is to be held out, expected 0 or more and below 1")
    samples = samples.counted()
    numbers = number_points(samples.x)
    points = int(numbers.max()) + 1
    held_out = min(round(share * points), points - 1)
    if samples.count < least or held_out == 0:
        return samples, None
    order = np.random.default_rng(np.random.SeedSequence((seed, RANDOM_STREAM))).permutation(points)
    is_out = np.isin(numbers, order[:held_out])
    return samples.take(np.flatnonzero(~is_out)), samples.take(np.flatnonzero(is_out))


def split_pins(samples: Samples) -> tuple[Samples, Samples]:
    """Split rows into those with derivatives, and those with values alone, for ``Derivative(pins)``.

    The values of the latter fix the constant that derivatives leave open.

    Args:
        samples: rows of both kinds.

    Returns:
        The rows with a derivative, whose values are then measured but not fitted; and the pins.

    Raises:
        DataError: there are none of one kind.
    """
    derivatives = _rows_with(samples, "dydx", "y_dot")
    pins = _rows_with(samples, "y") & ~derivatives
    if not derivatives.any():
        raise DataError("no row has a derivative: give some, or fit values alone")
    if not pins.any():
        raise DataError(
            "derivatives leave a constant open, and no row has a value alone: "
            "add a row whose derivatives are empty, or fit values and derivatives"
        )
    return samples.take(np.flatnonzero(derivatives)), samples.take(np.flatnonzero(pins))


def _rows_with(samples: Samples, *roles: Role) -> np.ndarray:
    columns = [column for key, column in samples.columns().items() if key.role in roles]
    return rows_with_labels(columns, samples.count)
