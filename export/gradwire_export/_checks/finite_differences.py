"""Directional derivatives from values alone, by differences of eighth order, with an estimate of their own error.

    D(h) = [ 4/5 (f₁ - f₋₁) - 1/5 (f₂ - f₋₂) + 4/105 (f₃ - f₋₃) - 1/280 (f₄ - f₋₄) ] / h,   f_k = f(x + khv)

is off by h⁸ f⁽⁹⁾ / 630 and by rounding, at most 2.1 s / h where f is good to s (Fornberg, "Generation of finite
difference formulas on arbitrarily spaced grids", Math. Comp. 51 (1988) 699). h is halved from a sixteenth of the domain
down to a thousandth, and at each point the step is taken at which ``|D(2h) - D(h)| + 2.1 s / h`` is least: in float64
that leaves some 1e-13 of a smooth function, in float32 some 1e-6. At a kink nothing settles, and the estimate says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from gradwire._numerics import GRID, deviation, on_grid, reach, spacing
from gradwire._package import Box

Arrays = dict[str, np.ndarray]
Run = Callable[[Arrays], Mapping[str, np.ndarray]]

WEIGHTS: Final = np.array([1 / 280, -4 / 105, 1 / 5, -4 / 5, 0, 4 / 5, -1 / 5, 4 / 105, -1 / 280])
OFFSETS: Final = np.arange(-4.0, 5.0)
ROUNDING: Final = float(np.abs(WEIGHTS).sum())  # 2.1: the most that errors of size 1 can do
LONGEST: Final = 0.25  # of the domain: four steps to either side
HALVINGS: Final = 7
NEAR_KINK: Final = 16.0  # times the median point's error: no difference can tell the slope there
UNSETTLED: Final = 1e-4  # of the largest slope: less is no kink, whatever the median


@dataclass(frozen=True)
class Slope:
    """A directional derivative of one output at some points.

    Attributes:
        value: ``(points, numbers)``.
        error: what it may be off by, of the same shape.
    """

    value: np.ndarray
    error: np.ndarray

    @property
    def near_kink(self) -> np.ndarray:
        """The points, ``(points,)``, at which nothing settles."""
        worst = self.error.max(axis=1)
        scale = np.abs(self.value).max(initial=0.0)
        return (worst > NEAR_KINK * np.median(worst)) & (worst > UNSETTLED * scale)


def slopes(
    run: Run, x: Mapping[str, np.ndarray], v: Mapping[str, np.ndarray], boxes: Mapping[str, Box], eps: float
) -> dict[str, Slope]:
    """Differentiates every output along a direction.

    Args:
        run: gives outputs, ``(rows, …)``, of inputs.
        x: points, ``(points, *row)`` by input.
        v: directions of the inputs that move.
        boxes: bounds of the inputs; no step leaves them.
        eps: of the dtype that ``run`` computes in.

    Returns:
        By output.
    """
    room = np.min([reach(x[name], v[name], boxes[name], LONGEST) for name in v], axis=0)
    longest = 2.0 ** np.floor(np.log2(room)) / OFFSETS[-1]
    h = longest[:, None] * 0.5 ** np.arange(HALVINGS)
    multiples = (h[:, :, None] * OFFSETS).reshape(len(h), -1)
    found = _moved(run, x, v, multiples)
    noise = _noise(run, x, v, boxes, eps)
    return {name: _best(values.reshape(*h.shape, len(OFFSETS), -1), h, noise[name]) for name, values in found.items()}


def _best(values: np.ndarray, h: np.ndarray, noise: np.ndarray) -> Slope:
    """Picks the step for each number from values ``(points, steps, offsets, numbers)``."""
    with np.errstate(all="ignore"):
        found = np.einsum("pskn,k->psn", values, WEIGHTS) / h[:, :, None]
        error = np.abs(np.diff(found, axis=1)) + ROUNDING * noise[:, None] / h[:, 1:, None]
    error = np.where(np.isfinite(error), error, np.inf)
    best = error.argmin(axis=1)[:, None]
    return Slope(np.take_along_axis(found[:, 1:], best, axis=1)[:, 0], np.take_along_axis(error, best, axis=1)[:, 0])


def _noise(
    run: Run, x: Mapping[str, np.ndarray], v: Mapping[str, np.ndarray], boxes: Mapping[str, Box], eps: float
) -> Arrays:
    steps = np.max([spacing(x[name], v[name], eps) for name in v], axis=0)
    rows = {name: np.repeat(array, len(GRID), axis=0) for name, array in x.items()}
    rows |= {name: on_grid(x[name], v[name], steps, boxes[name]).reshape(-1, *v[name].shape[1:]) for name in v}
    noise = {}
    for name, array in run(rows).items():
        grid = np.asarray(array, np.float64).reshape(len(steps), len(GRID), -1)
        scale = np.where(np.isfinite(grid), np.abs(grid), 0).max(axis=(0, 1), initial=0.0)
        noise[name] = deviation(grid, eps * scale)
    return noise


def _moved(run: Run, x: Mapping[str, np.ndarray], v: Mapping[str, np.ndarray], multiples: np.ndarray) -> dict[str, Any]:
    """The outputs at x + tv, ``(points, multiples, numbers)`` in float64."""
    points, each = multiples.shape
    rows = {name: np.repeat(array, each, axis=0) for name, array in x.items()}
    for name, direction in v.items():
        t = multiples.reshape(points, each, *(1 for _ in direction.shape[1:]))
        rows[name] = (x[name][:, None] + t * direction[:, None]).astype(x[name].dtype).reshape(-1, *direction.shape[1:])
    return {name: np.asarray(array, np.float64).reshape(points, each, -1) for name, array in run(rows).items()}
