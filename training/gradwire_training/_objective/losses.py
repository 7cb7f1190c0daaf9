"""What a fit makes small: errors of values, of derivatives, or of both.

Each loss is the same weighted sum of two mean squares over the labels that are there (missing ones are NaN), each error
measured in a unit of its own (``_balance.py``):

    loss = value_weight * mean ((f - y) / unit)^2 + derivative_weight * mean ((df/dx - dy/dx) / unit)^2

Fitting derivatives beside values is Sobolev training: Czarnecki et al., arXiv 1706.04859, equation 1. The balance of the
two is Huge and Savine's, arXiv 2005.02347, appendix 4.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, Final, final

from gradwire._errors import DataError, UsageError
from gradwire_training._data import Samples

WEIGHT: Final = 1.0


class Loss(ABC):
    """A weighted sum of two mean squares (see the module).

    Attributes:
        name: how commands and records call it.
        value_weight: of the mean square error of values; None leaves it to the balance.
        derivative_weight: of the mean square error of derivatives; None leaves it to the balance, 0 takes no
            derivative at all.
        balanced: whether the unit of a derivative is its own size over the samples, instead of the model's unit.
        pins: where values are fitted instead of at the samples; None fits them at the samples.
    """

    name: str
    value_weight: float | None = WEIGHT
    derivative_weight: float | None = 0.0
    balanced: bool = False
    pins: Samples | None = None

    @abstractmethod
    def check(self, samples: Samples) -> None:
        """Checks that samples have the labels that the loss needs.

        Raises:
            DataError: they do not.
        """

    def weights(self, values: int, derivatives: int) -> tuple[float, float]:
        """Gives the two weights.

        Those that are left to the balance follow Huge and Savine: with n derivative labels to each value label,
        1 / (1 + n) for the values and n / (1 + n) for the derivatives, so that every label counts the same.

        Args:
            values: how many value labels are fitted.
            derivatives: how many derivative labels are fitted.
        """
        share = values / max(values + derivatives, 1)
        value = share if self.value_weight is None else self.value_weight
        derivative = 1 - share if self.derivative_weight is None else self.derivative_weight
        return value, derivative

    def settings(self) -> dict[str, Any]:
        """Gives the loss as plain data, for the record of a fit."""
        return {
            "name": self.name,
            "value_weight": self.value_weight,
            "derivative_weight": self.derivative_weight,
            "balanced": self.balanced,
            "pins": None if self.pins is None else self.pins.count,
        }


@final
class Value(Loss):
    """Mean square error of the values; derivative labels are not looked at."""

    name = "value"

    def check(self, samples: Samples) -> None:
        """Checks that there are values (see ``Loss.check``)."""
        _require_values("samples", samples, self.name)


@final
class Derivative(Loss):
    """Mean square error of the derivatives, with the values pinned at given points.

    A derivative fixes a function only up to a constant: the pins fix the constant. Values at the samples are
    not fitted, though the metric ``mae`` still measures them where they are known.

    Args:
        pins: samples whose values are fitted; their derivatives are not looked at.
        balanced: whether each derivative is measured by its own size over the samples.

    Raises:
        DataError: no value is known at the pins.
    """

    name = "derivative"
    derivative_weight = WEIGHT

    def __init__(self, pins: Samples, *, balanced: bool = True) -> None:
        _require_values("pins", pins, self.name)
        self.pins = pins
        self.balanced = balanced

    def check(self, samples: Samples) -> None:
        """Checks that there are derivatives (see ``Loss.check``)."""
        _require_derivatives(samples, self.name)


@final
class Sobolev(Loss):
    """Mean square errors of values and of derivatives, weighted.

    Args:
        value_weight: of the values, above 0; by default the balance's (see ``Loss.weights``).
        derivative_weight: of the derivatives, above 0; by default the balance's.
        balanced: whether each derivative is measured by its own size over the samples; without it, the default
            weights are 1 and the errors are in the model's units: the plain sum.

    Raises:
        UsageError: a weight that is not a finite number above 0.
    """

    name = "sobolev"

    def __init__(
        self,
        *,
        value_weight: float | None = None,
        derivative_weight: float | None = None,
        balanced: bool = True,
    ) -> None:
        self.balanced = balanced
        self.value_weight = self._weight("value_weight", value_weight)
        self.derivative_weight = self._weight("derivative_weight", derivative_weight)

    def _weight(self, name: str, weight: float | None) -> float | None:
        if weight is None:
            return None if self.balanced else WEIGHT
        if not (math.isfinite(weight) and weight > 0):
            raise UsageError(f"{name} is {weight}, expected a finite number above 0: Value() fits values alone")
        return float(weight)

    def check(self, samples: Samples) -> None:
        """Checks that there are values and derivatives (see ``Loss.check``)."""
        _require_values("samples", samples, self.name)
        _require_derivatives(samples, self.name)


def _require_values(role: str, samples: Samples, loss: str) -> None:
    if not samples.value_labels:
        raise DataError(f"the {role} hold no value (y is NaN everywhere), the loss {loss!r} needs some: fill in y")


def _require_derivatives(samples: Samples, loss: str) -> None:
    if not samples.derivative_labels:
        raise DataError(f"the samples hold no derivative, the loss {loss!r} needs some: give dydx, or use Value()")
