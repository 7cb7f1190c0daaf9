"""A fitted model beside what it should give: on the truth's points, on rows held out, or on its own samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np

from gradwire._package import derivative_name
from gradwire_training._fit import evaluate_what_there_is, yardstick

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gradwire_training._data import Table
    from gradwire_training._fit import Result


@final
@dataclass(frozen=True, slots=True)
class Pair:
    """A tensor as the model gives it, and as it should be.

    Attributes:
        name: in a package, such as ``"price"`` or ``"dprice_dspot"``.
        is_derivative: whether it is one.
        unit: physical unit; None where unknown.
        given: the model's numbers, flat; those without a label are left out.
        wanted: the truth's or the samples', the same length.
    """

    name: str
    is_derivative: bool
    unit: str | None
    given: NDArray[np.float64]
    wanted: NDArray[np.float64]

    @property
    def errors(self) -> NDArray[np.float64]:
        """Given minus wanted."""
        return self.given - self.wanted

    @property
    def max(self) -> float | None:
        """The largest error; None where there is none, or one is not finite."""
        return float(np.abs(self.errors).max()) if self._is_sound else None

    @property
    def rmse(self) -> float | None:
        """The root of the mean square error; None as above."""
        return float(np.sqrt(np.mean(self.errors**2))) if self._is_sound else None

    @property
    def relative(self) -> float | None:
        """The rmse as a share of the truth's standard deviation: 1 is no better than its mean. None as above."""
        spread = float(np.std(self.wanted)) if self._is_sound else 0.0
        return float(np.sqrt(np.mean(self.errors**2))) / spread if spread > 0 else None

    @property
    def _is_sound(self) -> bool:
        return bool(self.given.size) and bool(np.isfinite(self.given).all())


@final
@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything that tables and pictures of a fit show of its answers.

    Attributes:
        x: the points, by input ``(rows, *row shape)``.
        pairs: outputs first, then derivatives.
        against: what the truth is, in words.
    """

    x: Table
    pairs: tuple[Pair, ...]
    against: str

    @classmethod
    def of(cls, result: Result) -> Comparison:
        """Evaluates the fitted model on the points that its errors are measured on."""
        samples = result.request.samples
        x, y, dydx, against = yardstick(samples, result.request.validation)
        values, derivatives = evaluate_what_there_is(result.model, result.ports, x, dydx)
        units = samples.units
        pairs = [_pair(name, False, units.get(name), values[name], y[name]) for name in values]
        for output, by in dydx.items():
            for wrt, wanted in by.items():
                given = derivatives.get(output, {}).get(wrt, np.full_like(wanted, np.nan))
                unit = _ratio(units.get(output), units.get(wrt))
                pairs.append(_pair(derivative_name(output, wrt), True, unit, given, wanted))
        return cls(x=x, pairs=tuple(pairs), against=against)


def _pair(name: str, is_derivative: bool, unit: str | None, given: NDArray[Any], wanted: NDArray[Any]) -> Pair:
    flat, there = wanted.ravel(), ~np.isnan(wanted.ravel())
    return Pair(name, is_derivative, unit, given.astype(np.float64).ravel()[there], flat[there])


def _ratio(output: str | None, wrt: str | None) -> str | None:
    if output is None or wrt is None:
        return None
    if output == wrt:
        return "1"
    return output if wrt == "1" else f"{output}/({wrt})" if "/" in wrt else f"{output}/{wrt}"
