"""How much of a computed number is rounding: fourth differences on a grid so fine that the function is a cubic there.

A smooth function's fourth difference falls as the fourth power of the spacing; independent rounding errors of
deviation s keep theirs, √70 s. So what is left on a fine grid is rounding (Hamming's difference table, as in Moré and
Wild, "Estimating computational noise", SIAM J. Sci. Comput. 33 (2011) 1292). This measures the
condition of the computation, cancellation and depth included, which no bound from the dtype alone does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from gradwire._numerics.compare import TINY, largest
from gradwire._numerics.points import Arrays, Run, rows_along
from gradwire._package import Box

Floats = NDArray[np.float64]

GRID: Final = np.arange(-4.0, 5.0)  # nine points give five fourth differences
CENTRE: Final = 4  # of the grid: the point itself
_FOURTH: Final = np.array([1.0, -4.0, 6.0, -4.0, 1.0])
_FOURTH_NORM: Final = math.sqrt(70.0)  # of those weights: what independent errors are multiplied by
_SPACING: Final = 0.75  # eps to this power, of the domain: some hundred neighbouring floats, far from any structure
_LEAST_ULPS: Final = 4  # a spacing that x can resolve


@final
@dataclass(frozen=True, slots=True)
class Measured:
    """A function's values at some points, and how much of them is rounding."""

    values: Mapping[str, Floats]  # by tensor, ``(points, elements)``
    noise: Mapping[str, Floats]  # the standard deviation of rounding, of the same shapes


def measure(run: Run, x: Arrays, v: Arrays, boxes: Mapping[str, Box], eps: float) -> Measured:
    """Evaluate a function at points and on the fine grid along v around each, all in one call.

    Inputs without a direction, such as tangents, stay. Noise is at least eps times a tensor's largest magnitude.
    """
    outputs = run(grid_around(x, v, boxes, eps))
    grids = {name: by_point(array) for name, array in outputs.items()}
    values = {name: grid[:, CENTRE] for name, grid in grids.items()}
    with np.errstate(all="ignore"):
        noise = {name: deviation(grid, eps * largest(values[name])) for name, grid in grids.items()}
    return Measured(values, noise)


def grid_around(x: Arrays, v: Arrays, boxes: Mapping[str, Box], eps: float) -> dict[str, NDArray[Any]]:
    """Return the rows of the fine grid along v, nine for each point, ``(points * 9, *row)``."""
    count = len(next(iter(x.values())))
    steps = np.max([np.zeros(count), *(spacing(x[name], v[name], eps) for name in v)], axis=0)
    return rows_along(x, v, steps[:, None] * GRID, boxes)


def by_point(outputs: NDArray[Any]) -> Floats:
    """Return the outputs of the rows of ``grid_around`` as ``(points, 9, elements)``, in float64."""
    return np.asarray(outputs, np.float64).reshape(len(outputs) // len(GRID), len(GRID), -1)


def spacing(x: NDArray[Any], v: Floats, eps: float) -> Floats:
    """Choose the grid's spacing at each point, as a multiple of v, a power of two: x + kδv is then exact."""
    length = np.abs(v).reshape(len(x), -1)
    ulps = _LEAST_ULPS * np.abs(np.spacing(x)).astype(np.float64).reshape(len(x), -1)
    least = np.divide(ulps, length, out=np.zeros_like(length), where=length > 0).max(axis=1, initial=0.0)
    return 2.0 ** np.ceil(np.log2(np.maximum(least, eps**_SPACING)))


def deviation(values: Floats, least: Floats | float) -> Floats:
    """Estimate rounding, ``(points, elements)``, from values on the grid, ``(points, 9, elements)``.

    It is a point's own, but at least that of the median point, and ``least``: what the dtype alone makes of it.
    """
    windows = np.lib.stride_tricks.sliding_window_view(values, len(_FOURTH), axis=1)
    with np.errstate(all="ignore"):  # callers leave out points where f is not finite
        own = np.sqrt(np.mean((windows @ _FOURTH) ** 2, axis=1)) / _FOURTH_NORM
    own = np.where(np.isfinite(own), own, 0.0)
    return np.maximum(np.maximum(own, np.median(own, axis=0)), np.maximum(least, TINY))  # f = 0 has no noise at all
