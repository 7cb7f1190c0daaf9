"""What a fit makes small: errors of values, of derivatives, or of both.

Each loss is the same weighted sum of two mean squares over the labels that are there (missing ones are NaN):

    loss = value_weight * mean (f - y)^2 + derivative_weight * mean (df/dx - dy/dx)^2

Fitting derivatives beside values is Sobolev training: Czarnecki et al., arXiv 1706.04859, equation 1.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, Final, final

from gradwire._errors import DataError, UsageError
from gradwire_training._samples import Samples

WEIGHT: Final = 1.0  # the post's problem is fitted best with equal weights, and the sum is easy to read


class Loss(ABC):
    """A weighted sum of two mean squares (see the module).

    Attributes:
        name: how commands and records call it.
        value_weight: of the mean square error of values.
        derivative_weight: of the mean square error of derivatives; 0 takes no derivative at all.
        pins: where values are fitted instead of at the samples; None fits them at the samples.
    """

    name: str
    value_weight: float = WEIGHT
    derivative_weight: float = 0.0
    pins: Samples | None = None

    @abstractmethod
    def check(self, samples: Samples) -> None:
        """Checks that samples have the labels that the loss needs.

        Raises:
            DataError: they do not.
        """

    def settings(self) -> dict[str, Any]:
        """Gives the loss as plain data, for the record of a fit."""
        return {
            "name": self.name,
            "value_weight": self.value_weight,
            "derivative_weight": self.derivative_weight,
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

    Raises:
        DataError: no value is known at the pins.
    """

    name = "derivative"
    derivative_weight = WEIGHT

    def __init__(self, pins: Samples) -> None:
        _require_values("pins", pins, self.name)
        self.pins = pins

    def check(self, samples: Samples) -> None:
        """Checks that there are derivatives (see ``Loss.check``)."""
        _require_derivatives(samples, self.name)


@final
class Sobolev(Loss):
    """Mean square errors of values and of derivatives, weighted.

    Args:
        value_weight: of the values, above 0.
        derivative_weight: of the derivatives, above 0.

    Raises:
        UsageError: a weight that is not a finite number above 0.
    """

    name = "sobolev"

    def __init__(self, *, value_weight: float = WEIGHT, derivative_weight: float = WEIGHT) -> None:
        for name, weight in (("value_weight", value_weight), ("derivative_weight", derivative_weight)):
            if not (math.isfinite(weight) and weight > 0):
                raise UsageError(
                    f"{name} is {weight}, expected a finite number above 0: Value() fits values alone"
                )
        self.value_weight = float(value_weight)
        self.derivative_weight = float(derivative_weight)

    def check(self, samples: Samples) -> None:
        """Checks that there are values and derivatives (see ``Loss.check``)."""
        _require_values("samples", samples, self.name)
        _require_derivatives(samples, self.name)


def _require_values(role: str, samples: Samples, loss: str) -> None:
    if not samples.value_labels:
        raise DataError(
            f"the {role} hold no value (y is NaN everywhere), the loss {loss!r} needs some: fill in y"
        )


def _require_derivatives(samples: Samples, loss: str) -> None:
    if not samples.derivative_labels:
        raise DataError(
            f"the samples hold no derivative, the loss {loss!r} needs some: give dydx, or use Value()"
        )
