"""Taylor remainders and what they say of a derivative: how they fall, and the distance to a difference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

import numpy as np

from gradwire._numerics.noise import GRID, deviation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# Of thousands of samples of rounding the worst lies 4 to 5 deviations out; estimates are estimates.
SAFETY: Final = 8.0
ABOVE_ROUNDING: Final = 10.0  # deviations: a remainder this large is not bent by rounding
_FIT: Final = 5  # steps in the fit: a range of 16, the smallest there are, where the h² law is cleanest
_LEAST_FIT: Final = 3  # fewer say nothing of a slope: the remainder is all rounding, as for a linear f
_KINK: Final = 0.5  # fall of |r(h) + r(-h)| / h over two halvings: 1/4 where f is smooth, 1 at a kink
_FIRST: Final = 3  # the first step with three estimates of truncation


def multiples(count: int, finest: float) -> Floats:
    """Says where f is to be evaluated along a direction, as multiples of the longest step.

    Args:
        count: how often the longest step is halved.
        finest: spacing of the grid on which noise is measured.

    Returns:
        The steps forward, the same backward, and the grid.
    """
    halving = np.power(0.5, np.arange(count + 1, dtype=np.float64))
    return np.concatenate([halving, -halving, finest * GRID])


@final
@dataclass(frozen=True, slots=True)
class Remainders:
    """The remainders r(h) = f(x + hv) - f(x) - h df·v of one derivative, and the scales to judge them.

    Attributes:
        r: ``(points, multiples, numbers)``, in the order of ``multiples``; finite.
        steps: ``(points, steps)``, h.
        value_rounding: ``(numbers,)``, what the dtype alone makes of f.
        slope_rounding: ``(points, numbers)``, what the dtype alone makes of df·v.
    """

    r: Floats
    steps: Floats
    value_rounding: Floats
    slope_rounding: Floats

    @property
    def forward(self) -> Floats:
        """r(h), ``(points, steps, numbers)``."""
        return self.r[:, : self.steps.shape[1]]

    @property
    def backward(self) -> Floats:
        """r(-h), ``(points, steps, numbers)``."""
        count = self.steps.shape[1]
        return self.r[:, count : 2 * count]

    def noise(self) -> Floats:
        """Measures the noise s of f, ``(points, numbers)``, from fourth differences on the grid."""
        return deviation(self.r[:, -len(GRID) :], self.value_rounding)

    def curve(self) -> tuple[Floats, Floats]:
        """Gives the median over the points of h, and of the largest |r(h)| of the output's numbers."""
        largest: Floats = np.abs(self.forward).max(axis=2)
        return np.median(self.steps, axis=0), np.median(largest, axis=0)

    def fitted_slope(self, noise: Floats) -> float | None:
        """Fits log r over log h, by least squares on the smallest steps at which r is not rounding.

        The one step below joins them, at no less than rounding: there a piecewise linear f falls at once.

        Args:
            noise: from ``noise``.

        Returns:
            2 for a right derivative of a smooth f, 1 for a wrong one; None where r is all rounding.
        """
        steps, r = self.curve()
        above = np.median((np.abs(self.forward) / noise[:, None]).max(axis=2), axis=0) > ABOVE_ROUNDING
        if above.sum() < _LEAST_FIT:
            return None
        last = min(int(np.flatnonzero(above)[-1]) + 2, len(steps))
        chosen = slice(max(0, last - _FIT), last)
        floored = np.maximum(r[chosen], np.median(noise.max(axis=1)))
        return float(np.polyfit(np.log(steps[chosen]), np.log(floored), 1)[0])

    def disagreement(self, noise: Floats) -> Floats:
        """Compares df·v with the central difference, at the step where that can be had best.

        Args:
            noise: from ``noise``.

        Returns:
            ``(points,)``, the worst of the output's numbers in units of what is allowed; NaN at a kink of f.
        """
        h = self.steps[:, :, None]
        error = (self.forward - self.backward) / (2 * h)
        change = np.abs(np.diff(error, axis=1)) / 3  # Richardson's estimate, at steps 1, 2, …
        truncation = np.maximum(np.maximum(change[:, 2:], change[:, 1:-1] / 4), change[:, :-2] / 16)
        allowed = SAFETY * (truncation + noise[:, None] / h[:, _FIRST:] + self.slope_rounding[:, None])
        best = allowed.argmin(axis=1)[:, None]
        units = _at(np.abs(error[:, _FIRST:]) / allowed, best)
        bend = np.abs(self.forward + self.backward) / h  # knows nothing of df
        now, before = _at(bend[:, _FIRST:], best), _at(bend[:, _FIRST - 2 : -2], best)
        kink = (now > _KINK * before) & (now > SAFETY * noise / _at(h[:, _FIRST:], best))
        return np.where(kink.any(axis=1), np.nan, units.max(axis=1))


def _at(array: Floats, step: NDArray[np.intp]) -> Floats:
    """Picks a step a point and number: ``(points, steps, numbers)`` to ``(points, numbers)``."""
    whole = np.broadcast_to(array, (*array.shape[:2], step.shape[2]))
    return np.take_along_axis(whole, step, axis=1)[:, 0]
