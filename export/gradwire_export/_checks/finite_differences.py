"""Directional derivatives from values alone, by differences of eighth order, with an estimate of their own error.

    D(h) = [ 4/5 (f₁ - f₋₁) - 1/5 (f₂ - f₋₂) + 4/105 (f₃ - f₋₃) - 1/280 (f₄ - f₋₄) ] / h,   f_k = f(x + khv)

has an error of h⁸ f⁽⁹⁾ / 630 and of rounding, at most 2.1 s / h where f is accurate to s (Fornberg, "Generation
of finite difference formulas on arbitrarily spaced grids", Math. Comp. 51 (1988) 699). h is halved from a
sixteenth of the domain down to a thousandth, and at each point the step is taken at which the estimated error
is least: ``|D(2h) - D(h)|``, or what D changes at smaller steps yet, where that is more and no rounding, plus
2.1 s / h. In float64 that leaves some 1e-13 of a smooth function, in float32 some 1e-6. Near a kink nothing
converges, and the estimate is large; at one, nearer than the smallest step, D converges to the mean of both
sides, and what shows it is that ``|f₁ + f₋₁ - 2 f| / h`` does not fall with h.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from gradwire._numerics import CENTRE, GRID, SAFETY, evaluate_along, measure, reach, resolved_halvings
from gradwire._package import Box
from gradwire_export._checks.fresh_process import Arrays

Run = Callable[[Arrays], Mapping[str, np.ndarray]]

WEIGHTS: Final = np.array([1 / 280, -4 / 105, 1 / 5, -4 / 5, 0, 4 / 5, -1 / 5, 4 / 105, -1 / 280])  # of ``GRID``
ROUNDING: Final = float(np.abs(WEIGHTS).sum())  # 2.1: the most that errors of size 1 can do
LONGEST: Final = 0.25  # of the domain: four steps to either side
HALVINGS: Final = 7
NEAR_KINK: Final = 16.0  # times the median point's error: no difference converges there
STAYS: Final = 0.75  # of the change of slope when the step is halved: 1/2 where f is smooth, 1 at a kink
LAST: Final = 3  # steps at which it has to stay
SECOND_ROUNDING: Final = 4.0  # of the weights 1, -2, 1: the most that errors of size 1 can do
NOT_CONVERGED: Final = 1e-4  # of the largest derivative: a smaller error is no kink, whatever the median


@dataclass(frozen=True)
class DirectionalDerivative:
    """A directional derivative of one output at some points."""

    value: np.ndarray  # (points, elements)
    error: np.ndarray  # its estimated error, of the same shape
    at_kink: np.ndarray  # whether the slopes of both sides differ, (points,)

    @property
    def near_kink(self) -> np.ndarray:
        """Whether nothing converges at a point to what a derivative could be, ``(points,)``."""
        worst = self.error.max(axis=1)
        scale = np.abs(self.value).max(initial=0.0)
        return self.at_kink | ((worst > NEAR_KINK * np.median(worst)) & (worst > NOT_CONVERGED * scale))


def directional_derivatives(
    run: Run, x: Mapping[str, np.ndarray], v: Mapping[str, np.ndarray], boxes: Mapping[str, Box], eps: float
) -> dict[str, DirectionalDerivative]:
    """Differentiate every output of ``run``, which computes with ``eps``, along v; no step leaves the boxes."""
    room = np.min([reach(x[name], v[name], boxes[name], LONGEST) for name in v], axis=0)
    longest = 2.0 ** np.floor(np.log2(room)) / GRID[-1]
    resolved = resolved_halvings(v, boxes, x, longest)
    h = longest[:, None] * 0.5 ** np.arange(HALVINGS if resolved is None else min(HALVINGS, resolved + 1))
    moved = evaluate_along(run, x, v, (h[:, :, None] * GRID).reshape(len(h), -1), boxes)
    noise = measure(run, x, v, boxes, eps).noise
    return {name: _best(values.reshape(*h.shape, len(GRID), -1), h, noise[name]) for name, values in moved.items()}


def _best(values: np.ndarray, h: np.ndarray, noise: np.ndarray) -> DirectionalDerivative:
    """Pick the step for each element from values ``(points, steps, offsets, elements)``."""
    with np.errstate(all="ignore"):
        differences = np.einsum("pskn,k->psn", values, WEIGHTS) / h[:, :, None]
        rounding = ROUNDING * noise[:, None] / h[:, 1:, None]
        change = np.abs(np.diff(differences, axis=1))
        # Steps that straddle a kink far to one side agree with each other, and with no smaller one.
        later = np.maximum.accumulate((change - 2 * SAFETY * rounding)[:, ::-1], axis=1)[:, ::-1]
        error = np.maximum(change, later) + rounding
    error = np.where(np.isfinite(error), error, np.inf)
    best = error.argmin(axis=1)[:, None]
    return DirectionalDerivative(
        np.take_along_axis(differences[:, 1:], best, axis=1)[:, 0],
        np.take_along_axis(error, best, axis=1)[:, 0],
        _at_kink(values, h, noise),
    )


def _at_kink(values: np.ndarray, h: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Whether the change of slope from one side to the other stays at the smallest steps; derivatives play no part."""
    with np.errstate(all="ignore"):
        change = np.abs(values[:, :, CENTRE + 1] + values[:, :, CENTRE - 1] - 2 * values[:, :, CENTRE]) / h[:, :, None]
        stays = (change[:, 1:] > STAYS * change[:, :-1])[:, -LAST:]
        seen = change[:, -1] > SAFETY * SECOND_ROUNDING * noise / h[:, -1:]
    return (stays.all(axis=1) & seen).any(axis=1) & (stays.shape[1] == LAST)
