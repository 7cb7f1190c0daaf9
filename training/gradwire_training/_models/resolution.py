"""Whether a package's dtype can tell the rows of samples apart: far from zero, float32 rounds noticeably.

A fit sees the inputs as they are; the package sees them rounded. With x off by d, f is off by |df/dx| d, whatever the
network: 1.2e-3 for sin(x / 200) near 5.4e6, and more than half of its range near 1.7e9. What the package returns is
rounded, too: float32 has no numbers between 1e8 and 1e8 + 8. Derivatives with respect to a near input are not.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from gradwire._errors import DataError
from gradwire_training._data import Samples, Table, mean_and_deviation, number_points
from gradwire_training._models.io_binding import IoBinding
from gradwire_training._models.scaling import moments

MOST_MOVED: Final = 2e-3  # of an input's spread: more leaves some hundred points that differ
MOST_CHANGED: Final = 1e-2  # of an output's spread, by its derivative or between rows that become one
MOST_MERGED: Final = 0.1  # of the rows: by chance, a few of very many lie closer than float32 resolves
WORTH_A_NOTE: Final = 1e-4  # of an input's spread: less is hardly seen in the errors
WAY_OUT: Final = "give dtype='float64' (--dtype float64), or subtract a constant from the column"


def rounding_notes(samples: Samples, binding: IoBinding, dtype: str) -> list[str]:
    """Return a line for each input that a package in ``dtype`` sees noticeably rounded, and for each output.

    Raises:
        DataError: it could not tell the rows apart.
    """
    if dtype == "float64":
        return []
    notes: list[str] = []
    rounded: Table = {}
    for name in (tensor.name for tensor in binding.inputs if tensor.is_floating):
        column = samples.x[name]
        with np.errstate(over="ignore"):
            rounded[name] = column.astype(dtype).astype(np.float64)
        moved = np.abs(rounded[name] - column)
        _, spread = mean_and_deviation(column)
        spread = np.where(np.ptp(column, axis=0) > 0, spread, 0.0)  # of a constant it is the rounding of its mean
        with np.errstate(divide="ignore", invalid="ignore"):
            part = np.nan_to_num(moved.max(axis=0) / np.where(spread > 0, spread, np.inf), nan=np.inf)
        worst = np.unravel_index(int(part.argmax()), part.shape)
        where = f"x {name!r} lies near {column.mean(axis=0)[worst]:.3g} with a spread of {spread[worst]:.3g}"
        if part[worst] > MOST_MOVED:
            raise DataError(f"{where}: {dtype} moves its rows by up to {moved.max():.3g} there; {WAY_OUT}")
        _require_labels(samples, name, moved, where, dtype)
        if part[worst] > WORTH_A_NOTE:
            notes.append(f"{where}: {dtype} rounds it by up to {moved.max():.3g}, which no fit can undo; {WAY_OUT}")
    _require_rows(samples, samples.x | rounded, dtype)
    return notes + _output_notes(samples, dtype)


def _output_notes(samples: Samples, dtype: str) -> list[str]:
    notes: list[str] = []
    for name, column in samples.y.items():
        centre, spread = moments(column)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            rounding = np.abs(np.spacing(column.astype(dtype)).astype(np.float64)) / 2  # NaN of infinity
            rounding = np.where(np.isfinite(column), np.nan_to_num(rounding, nan=np.inf), 0.0).max(axis=0)
            part = np.where(spread > 0, rounding / spread, 0.0)
        worst = np.unravel_index(int(part.argmax()), part.shape)
        text = (
            f"y {name!r} lies near {centre[worst]:.3g} with a spread of {spread[worst]:.3g}: {dtype} rounds it by up to "
            f"{rounding[worst]:.3g}"
        )
        if part[worst] > MOST_CHANGED:
            raise DataError(f"{text}; {WAY_OUT}")
        if part[worst] > WORTH_A_NOTE:
            notes.append(f"{text}, which no fit can undo; {WAY_OUT}")
    return notes


def _require_labels(samples: Samples, name: str, moved: NDArray[np.float64], where: str, dtype: str) -> None:
    """Raise if an output changes much where an input is rounded, by its labelled derivatives."""
    elements = moved.reshape(len(moved), -1)
    for output, columns in samples.dydx.items():
        if name not in columns:
            continue
        changed = np.abs(columns[name].reshape(len(moved), -1, elements.shape[1]) * elements[:, None])
        spread = _spread(samples, output)
        if spread > 0 and np.nanmax(changed, initial=0.0) > MOST_CHANGED * spread:
            raise DataError(
                f"{where}: {dtype} rounds it so that {output!r} changes by up to {np.nanmax(changed):.3g}, and its "
                f"spread is {spread:.3g}; {WAY_OUT}"
            )


def _require_rows(samples: Samples, rounded: Table, dtype: str) -> None:
    """Raise if many rows become one that have different values."""
    before, after = number_points(samples.x), number_points(rounded)
    if after.max() >= (1 - MOST_MERGED) * before.max():
        return
    several = np.bincount(after, np.bincount(before)[before] ** -1.0) > 1.5  # noqa: PLR2004 - points in each of the rounded ones
    for output, column in samples.y.items():
        flat = column.reshape(len(column), -1)
        lowest, highest = np.full((2, after.max() + 1, flat.shape[1]), np.nan)
        np.fmin.at(lowest, after, flat)
        np.fmax.at(highest, after, flat)
        differ = several & (np.nan_to_num(highest - lowest).max(axis=1) > MOST_CHANGED * _spread(samples, output))
        count = int(differ[after].sum())
        if count > MOST_MERGED * len(after):
            raise DataError(
                f"{dtype} cannot tell {count:,} of {len(after):,} rows apart, though their {output!r} differs: {WAY_OUT}"
            )


def _spread(samples: Samples, output: str) -> float:
    _, spread = mean_and_deviation(samples.y[output])
    return float(np.max(spread, initial=0.0))
