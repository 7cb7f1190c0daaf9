"""How far two arrays are apart: in units of what is allowed, of a dtype's eps, or of the last place (ulp)."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradwire._package import BFLOAT16, BY_NAME

Floats = NDArray[np.float64]

TINY: Final = float(np.finfo(np.float64).tiny)  # the scale of arrays that are zero everywhere
_BFLOAT16_EPS: Final = 2.0**-7


def eps_of(dtype: str) -> float:
    """Return the spacing of a dtype's numbers at 1; 0 for integers, which are exact."""
    if dtype == BFLOAT16:
        return _BFLOAT16_EPS
    return float(np.finfo(dtype).eps) if BY_NAME[dtype].numpy.kind == "f" else 0.0


def ulp_of(scale: float, dtype: str) -> float:
    """Return a unit in the last place of a magnitude, as a dtype holds it."""
    return eps_of(dtype) * 2.0 ** np.floor(np.log2(scale)) if scale > 0 else TINY


def flat_rows(array: NDArray[Any]) -> Floats:
    """Return the elements of each row, ``(rows, elements)``, in float64."""
    return array.reshape(len(array), -1).astype(np.float64)


def largest(values: Floats) -> Floats:
    """Return each element's largest finite magnitude over the rows, ``(elements,)``; 0 where there is none."""
    return np.where(np.isfinite(values), np.abs(values), 0.0).max(axis=0, initial=0.0)


def distance(actual: NDArray[Any], expected: NDArray[Any]) -> Floats:
    """Return ``|actual - expected|`` by element.

    NaN equals NaN and an infinity itself; any other value that is not finite is infinitely far away.
    """
    same = (actual == expected) | (np.isnan(actual) & np.isnan(expected))
    both = np.isfinite(actual) & np.isfinite(expected)
    with np.errstate(all="ignore"):
        away = np.abs(np.asarray(actual, np.float64) - expected)
    return np.where(same, 0.0, np.where(both, away, np.inf))


def worst_ratio(actual: Floats, expected: Floats, allowed: Floats) -> float:
    """Return the largest distance in units of what is allowed; elements that are finite in neither do not count."""
    neither = ~np.isfinite(actual) & ~np.isfinite(expected)
    away = np.where(neither, 0.0, distance(actual, expected))
    with np.errstate(all="ignore"):
        ratio = np.where(away == 0, 0.0, away / allowed)  # nothing apart passes where nothing is allowed, too
    return float(np.nan_to_num(ratio, nan=np.inf, posinf=np.inf).max(initial=0.0))


class Comparison(NamedTuple):
    """How far an array is from what was expected."""

    eps: float  # the largest distance, in units of the dtype's eps times the largest finite magnitude expected
    text: str  # where that is: ``"at (3, 0) got 1.5, expected 1.0"``


def compare(actual: NDArray[Any], expected: NDArray[Any], dtype: str = "") -> Comparison:
    """Compare two arrays of one shape and floating dtype, by ``distance``; infinite where shapes or dtypes differ.

    ``dtype`` is that of the computation, where the arrays are of a wider one (bfloat16 in float32).
    """
    if expected.shape != actual.shape or expected.dtype != actual.dtype:
        return Comparison(np.inf, f"{actual.dtype} {actual.shape}, expected {expected.dtype} {expected.shape}")
    if not expected.size:
        return Comparison(0.0, "nothing to compare")
    away = distance(actual, expected)
    index = tuple(int(i) for i in np.unravel_index(int(away.argmax()), away.shape))
    scale = max(float(largest(flat_rows(expected)).max()), float(np.finfo(expected.dtype).tiny))
    eps = float(away[index]) / (eps_of(dtype or expected.dtype.name) * scale)
    return Comparison(eps, f"at {index} got {actual[index]!s}, expected {expected[index]!s}")
