"""Taylor remainders as a test of a derivative: how they fall, and its distance from finite differences."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final, final

import numpy as np
from numpy.typing import NDArray

from gradwire._numerics.noise import GRID, deviation

Floats = NDArray[np.float64]

# Of thousands of samples of rounding the worst lies 4 to 5 deviations out; estimates are estimates.
SAFETY: Final = 8.0
ABOVE_ROUNDING: Final = 10.0  # deviations: a remainder this large is not bent by rounding
_FIT: Final = 5  # steps in the fit: a range of 16, the smallest there are, where the h² law is cleanest
_LEAST_FIT: Final = 3  # fewer do not determine a slope: the remainder is all rounding, as for a linear f
_KINK: Final = 0.5  # fall of |r(h) + r(-h)| / h over two halvings: 1/4 where f is smooth, 1 at a kink
_FIRST: Final = 3  # the first step with three estimates of truncation
_SECOND_NOISE: Final = math.sqrt(6.0)  # of the weights 1, -2, 1


def multiples(count: int, finest: float) -> Floats:
    """Return where to evaluate f: the longest step, 1, and its halvings; the same backward; and the noise grid."""
    halving = np.power(0.5, np.arange(count + 1, dtype=np.float64))
    return np.concatenate([halving, -halving, finest * GRID])


@final
@dataclass(frozen=True, slots=True)
class Remainders:
    """The remainders r(h) = f(x + hv) - f(x) - h df·v of one derivative, and the scales to judge them."""

    r: Floats  # ``(points, multiples, elements)``, in the order of ``multiples``; finite
    steps: Floats  # ``(points, steps)``, h
    value_rounding: Floats  # ``(elements,)``, what the dtype alone makes of f
    derivative_rounding: Floats  # ``(points, elements)``, what the dtype alone makes of df·v

    @property
    def forward(self) -> Floats:
        """r(h), ``(points, steps, elements)``."""
        return self.r[:, : self.steps.shape[1]]

    @property
    def backward(self) -> Floats:
        """r(-h), ``(points, steps, elements)``."""
        count = self.steps.shape[1]
        return self.r[:, count : 2 * count]

    def even(self) -> Remainders:
        """Return the even parts, (r(h) + r(-h)) / 2: odd powers of h, and with them df, drop out. The grid stays.

        Their rounding is √1.5 times that of r at most, 1.2 times, which no limit here resolves.
        """
        half = (self.forward + self.backward) / 2
        return replace(self, r=np.concatenate([half, half, self.r[:, -len(GRID) :]], axis=1))

    def noise(self) -> Floats:
        """Return the noise s of f, ``(points, elements)``, from fourth differences on the grid."""
        return deviation(self.r[:, -len(GRID) :], self.value_rounding)

    def median_curve(self) -> tuple[Floats, Floats]:
        """Return the median over the points of h, and of the largest |r(h)| of the output's elements."""
        largest: Floats = np.abs(self.forward).max(axis=2)
        return np.median(self.steps, axis=0), np.median(largest, axis=0)

    def fitted_slope(self, noise: Floats) -> float | None:
        """Fit log r over log h, by least squares on the smallest steps at which r is not rounding.

        The one step below joins them, at no less than rounding: there a piecewise linear f falls at once. The slope is
        2 for a right derivative of a smooth f, 1 for a wrong one; None where r is all rounding. Of a fit to five steps
        and one to the smallest three the larger counts: where f bends sharply the law holds for the smallest alone, and
        a wrong derivative shows there most.
        """
        steps, r = self.median_curve()
        above = np.median((np.abs(self.forward) / noise[:, None]).max(axis=2), axis=0) > ABOVE_ROUNDING
        if above.sum() < _LEAST_FIT:
            return None
        last = min(int(np.flatnonzero(above)[-1]) + 2, len(steps))
        log_steps, log_r = np.log(steps), np.log(np.maximum(r, np.median(noise.max(axis=1))))
        chosen = [slice(max(0, last - count), last) for count in (_FIT, _LEAST_FIT)]
        return max(float(np.polyfit(log_steps[each], log_r[each], 1)[0]) for each in chosen)

    def disagreement(self, noise: Floats) -> Floats:
        """Compare df·v with the central difference, at the step where that is most accurate.

        Returns the worst element of each point in units of what is allowed; NaN at a kink of f.
        """
        h = self.steps[:, :, None]
        error = (self.forward - self.backward) / (2 * h)
        truncation = _truncation(np.abs(np.diff(error, axis=1)) / 3)
        allowed = SAFETY * (truncation + noise[:, None] / h[:, _FIRST:] + self.derivative_rounding[:, None])
        best = allowed.argmin(axis=1)[:, None]
        ratio = _at(np.abs(error[:, _FIRST:]) / allowed, best)
        change = np.abs(self.forward + self.backward) / h  # of the derivative over a step; independent of df
        now, before = _at(change[:, _FIRST:], best), _at(change[:, _FIRST - 2 : -2], best)
        kink = (now > _KINK * before) & (now > SAFETY * noise / _at(h[:, _FIRST:], best))
        return np.where(kink.any(axis=1), np.nan, ratio.max(axis=1))

    def second_disagreement(self, noise: Floats, rounding: Floats) -> Floats:
        """Compare v·Hv with the second difference, for even remainders; NaN where differences do not settle.

        Differences settle where each halving at least halves the change, as it does, by four, where f is smooth over
        the whole step; with a kink in it they do not. Changes are independent of H, so no fault of it hides here.
        ``rounding`` is what the dtype alone makes of v·Hv.
        """
        h = self.steps[:, :, None]
        error = (self.forward + self.backward) / h**2
        rounds = SAFETY * _SECOND_NOISE * noise[:, None] / h**2
        change = np.abs(np.diff(error, axis=1)) / 3
        allowed = SAFETY * (_truncation(change) + rounding[:, None]) + rounds[:, _FIRST:]
        best = allowed.argmin(axis=1)[:, None]
        falls = change[:, 1:] <= change[:, :-1] / 2 + rounds[:, 2:]
        settled = np.take_along_axis(falls[:, 1:] & falls[:, :-1], best, axis=1)[:, 0]
        ratio = _at(np.abs(error[:, _FIRST:]) / allowed, best)
        return np.where(settled.all(axis=1), ratio.max(axis=1), np.nan)


def _truncation(change: Floats) -> Floats:
    """The truncation error at step 3, 4, …: the largest of three of Richardson's estimates, at steps 1, 2 and on."""
    return np.maximum(np.maximum(change[:, 2:], change[:, 1:-1] / 4), change[:, :-2] / 16)


def _at(array: Floats, step: NDArray[np.intp]) -> Floats:
    """Pick a step by point and element: ``(points, steps, elements)`` to ``(points, elements)``."""
    whole = np.broadcast_to(array, (*array.shape[:2], step.shape[2]))
    return np.take_along_axis(whole, step, axis=1)[:, 0]
