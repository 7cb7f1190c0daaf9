"""Rows that give nothing but a value: they fix the constant that derivatives leave open."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gradwire._errors import DataError

if TYPE_CHECKING:
    from gradwire_training._data.samples import Samples


def split_pins(samples: Samples) -> tuple[Samples, Samples]:
    """Splits rows into those with derivatives, and those with values alone, for ``Derivative(pins)``.

    Args:
        samples: rows of both kinds.

    Returns:
        The rows with a derivative, whose values are then measured but not fitted; and the pins.

    Raises:
        DataError: there are none of one kind.
    """
    slopes = _rows_with([column for by in samples.dydx.values() for column in by.values()], samples.count)
    slopes |= _rows_with(list(samples.y_dot.values()), samples.count)
    pins = _rows_with(list(samples.y.values()), samples.count) & ~slopes
    if not slopes.any():
        raise DataError("no row has a derivative: give some, or fit values alone")
    if not pins.any():
        raise DataError(
            "derivatives leave a constant open, and no row has a value alone: "
            "add a row whose derivatives are empty, or fit values and derivatives"
        )
    return samples.take(np.flatnonzero(slopes)), samples.take(np.flatnonzero(pins))


def _rows_with(columns: list[np.ndarray], count: int) -> np.ndarray:
    known = np.zeros(count, bool)
    for column in columns:
        known |= np.isfinite(column).reshape(count, -1).any(axis=1)
    return known
