"""How much of a computed number is rounding: fourth differences on a grid so fine that the function is a cubic there.

A smooth function's fourth difference falls as the fourth power of the spacing; independent rounding errors of
deviation s keep theirs, √70 s. So what is left on a fine grid is rounding (Hamming's difference table, as in Moré and
Wild, "Estimating computational noise", SIAM J. Sci. Comput. 33 (2011) 1292). It knows how the numbers came about,
cancellation and depth included, which no bound from the dtype alone does: the condition of the computation, measured.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gradwire._package import Box

    Floats = NDArray[np.float64]

GRID: Final = np.arange(-4.0, 5.0)  # nine points give five fourth differences
CENTRE: Final = 4  # of the grid: the point itself
_FOURTH: Final = np.array([1.0, -4.0, 6.0, -4.0, 1.0])
_FOURTH_NORM: Final = math.sqrt(70.0)  # of those weights: what independent errors are multiplied by
_SPACING: Final = 0.75  # eps to this power, of the domain: some hundred neighbouring floats, far from any structure
_LEAST_ULPS: Final = 4  # a spacing that x can resolve


def spacing(x: NDArray[Any], v: Floats, eps: float) -> Floats:
    """Chooses the grid's spacing at each point, as a multiple of v, a power of two: x + kδv is then exact.

    Args:
        x: ``(points, *row)``.
        v: directions, of the same shape.
        eps: of the dtype.

    Returns:
        ``(points,)``.
    """
    length = np.abs(v).reshape(len(x), -1)
    ulps = _LEAST_ULPS * np.abs(np.spacing(x)).astype(np.float64).reshape(len(x), -1)
    least = np.divide(ulps, length, out=np.zeros_like(length), where=length > 0).max(axis=1, initial=0.0)
    return 2.0 ** np.ceil(np.log2(np.maximum(least, eps**_SPACING)))


def on_grid(x: NDArray[Any], v: Floats, steps: Floats, box: Box) -> NDArray[Any]:
    """Gives the points of the grid, ``(points, 9, *row)``, in the input's dtype.

    Args:
        x: ``(points, *row)``.
        v: directions, of the same shape.
        steps: from ``spacing``; the largest of all inputs that move together.
        box: the input's bounds, which no point leaves.
    """
    multiples = (steps[:, None] * GRID).reshape(len(x), len(GRID), *(1 for _ in v.shape[1:]))
    return np.clip(x[:, None] + multiples * v[:, None], *box).astype(x.dtype)


def deviation(values: Floats, least: Floats | float) -> Floats:
    """Estimates the deviation of rounding from values on the grid.

    Args:
        values: ``(points, 9, numbers)``.
        least: what the dtype alone makes of these numbers, ``(numbers,)``.

    Returns:
        ``(points, numbers)``: a point's own, but at least that of the median point, and ``least``.
    """
    windows = np.lib.stride_tricks.sliding_window_view(values, len(_FOURTH), axis=1)
    with np.errstate(all="ignore"):  # a point where f is not finite is left out by whoever asks
        own = np.sqrt(np.mean((windows @ _FOURTH) ** 2, axis=1)) / _FOURTH_NORM
    own = np.where(np.isfinite(own), own, 0.0)
    smallest = np.finfo(np.float64).tiny  # f = 0 everywhere has no noise at all
    return np.maximum(np.maximum(own, np.median(own, axis=0)), np.maximum(least, smallest))
