"""How far two arrays are apart, in units of what rounding is allowed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

# Of the output's scale: good models move by up to 4.3 between batch sizes (measured).
ALLOWED_EPS: Final = 32.0


@dataclass(frozen=True)
class Comparison:
    """How far two arrays are apart.

    Attributes:
        eps: largest difference, in units of the dtype's eps times the largest finite magnitude expected.
        text: where that is, in words.
    """

    eps: float
    text: str


def compare(expected: np.ndarray, found: np.ndarray) -> Comparison:
    """Measures how far two arrays are apart; NaN equals NaN, an infinity itself.

    Args:
        expected: the reference.
        found: the array to judge.

    Returns:
        The largest difference in eps of the reference's scale; infinite where shapes, dtypes or non-finite values differ.
    """
    if expected.shape != found.shape or expected.dtype != found.dtype:
        return Comparison(np.inf, f"{found.dtype} {found.shape}, expected {expected.dtype} {expected.shape}")
    finite = np.isfinite(expected)
    same = (expected == found) | (np.isnan(expected) & np.isnan(found))
    bad = ~same & (~finite | ~np.isfinite(found))
    if bad.any():
        return Comparison(np.inf, _where(expected, found, int(np.argmax(bad))))
    if not finite.any():
        return Comparison(0.0, "nothing finite to compare")
    difference = np.zeros(expected.shape, np.float64)
    np.subtract(expected, found, out=difference, where=finite)
    scale = max(float(np.abs(expected[finite]).max()), float(np.finfo(expected.dtype).tiny))
    eps = float(np.abs(difference).max()) / (float(np.finfo(expected.dtype).eps) * scale)
    return Comparison(eps, _where(expected, found, int(np.argmax(np.abs(difference)))))


def _where(expected: np.ndarray, found: np.ndarray, flat: int) -> str:
    index = tuple(int(i) for i in np.unravel_index(flat, expected.shape))
    return f"at {index} got {found[index]!s}, expected {expected[index]!s}"
