"""What a fit makes small: errors of values, of derivatives, or of both.

Each loss is a weighted sum of two means of squared residuals over the labels that are present (missing ones are NaN):

    loss = value_weight * mean r((f - y) / unit)^2 + derivative_weight * mean r((df/dx - dy/dx) / unit)^2

with each error measured in a unit of its own (``weighting.py``) and a residual r, by default the error itself, which
makes a mean square error. ``relative`` divides an error by its label, ``huber`` lets large errors count linearly, and
``monotone`` and ``bounds`` add what violates a sign (``signs.py``). Rows may have weights: a mean is then weighted.

Fitting derivatives beside values is Sobolev training: Czarnecki et al., arXiv 1706.04859, equation 1. The balance of
the two is Huge and Savine's, arXiv 2005.02347, appendix 4.

To add a loss: write its class here, with ``name``, ``fits`` and ``check``, put it into ``_KNOWN``, and give the command
a word for it. Another penalty overrides ``residual``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Final, final

import tensorflow as tf
from typing_extensions import override

from gradwire._errors import DataError, UsageError
from gradwire_training._data import Samples
from gradwire_training._objective.signs import read_bounds, read_slopes

WEIGHT: Final = 1.0
PENALTIES: Final = ("huber", "relative", "monotone", "bounds")  # settings that every loss has


class Loss(ABC):
    """A weighted sum of two means of squared residuals (see the module).

    Attributes:
        name: what commands and records call it.
        fits: the labels that it fits, as text for messages.
        options: the settings that ``get`` takes.
        needs_pins: whether it takes ``pins``.
        value_weight: of the mean over values; None leaves it to the balance.
        derivative_weight: of the mean over derivatives; None leaves it to the balance, 0 takes no derivative at all.
        balanced: whether the unit of a derivative is its own size over the samples, instead of the model's unit.
        pins: where values are fitted instead of at the samples; None fits them at the samples.
        huber: errors beyond it count linearly (Huber, Annals of Mathematical Statistics 35, 1964), in the unit of their
            label; None lets all count by their square.
        relative: errors are divided by the size of their label, or by this where that is smaller, both in the unit of
            the label; None leaves them absolute.
        monotone: signs of derivatives, ``"px:S0+, px:T-"``: px rises with S0 and falls with T. They are trained by
            penalties at the fitted rows and at random points of their box, and proven nowhere; None trains none.
        bounds: of outputs, ``"px>=0, px<=1"``, likewise.
    """

    name: ClassVar[str]
    fits: ClassVar[str]
    options: ClassVar[tuple[str, ...]] = PENALTIES
    needs_pins: ClassVar[bool] = False

    def __init__(
        self,
        *,
        value_weight: float | None = WEIGHT,
        derivative_weight: float | None = 0.0,
        balanced: bool = False,
        pins: Samples | None = None,
        huber: float | None = None,
        relative: float | None = None,
        monotone: str | None = None,
        bounds: str | None = None,
    ) -> None:
        self.value_weight = value_weight
        self.derivative_weight = derivative_weight
        self.balanced = balanced
        self.pins = pins
        self.huber = None if huber is None else _above_zero("huber", huber)
        self.relative = None if relative is None else _above_zero("relative", relative)
        self.monotone, self.bounds = monotone, bounds
        self.signs = (*read_slopes(monotone), *read_bounds(bounds))

    @abstractmethod
    def check(self, samples: Samples) -> None:
        """Raise if samples lack the labels that the loss needs.

        Raises:
            DataError: they do.
        """

    def residual(self, errors: Any, targets: Any) -> Any:
        """Return the residuals whose squares are summed, element by element.

        Every optimiser follows it: gradients through TensorFlow, and Levenberg-Marquardt with the Jacobian of these
        residuals (in closed form as long as they are the errors, else through TensorFlow).

        Args:
            errors: prediction minus label in its unit, a tensor; 0 where the label is missing.
            targets: the labels in the same units, a tensor of the same shape; 0 where missing.

        Returns:
            A tensor of the same shape, 0 where the error is 0.
        """
        if self.relative is not None:
            errors = errors / tf.maximum(tf.abs(targets), self.relative)
        if self.huber is None:
            return errors
        size = tf.abs(errors)
        # The square of the linear part is 2 huber |e| - huber^2; its root has no derivative at zero, so none is taken.
        linear = tf.sign(errors) * tf.sqrt(2 * self.huber * tf.maximum(size, self.huber) - self.huber**2)
        return tf.where(size <= self.huber, errors, linear)

    @property
    def residuals_are_errors(self) -> bool:
        """Whether the residuals are the errors themselves."""
        return type(self).residual is Loss.residual and self.huber is None and self.relative is None

    def weights(self, values: float, derivatives: float) -> tuple[float, float]:
        """Return the weights of the two means.

        Those that are left to the balance follow Huge and Savine: with n derivative labels to each value label,
        1 / (1 + n) for the values and n / (1 + n) for the derivatives, so that every label counts the same.

        Args:
            values: how many value labels are fitted; each counts as often as the weight of its row says.
            derivatives: how many derivative labels, likewise.
        """
        fraction = values / (values + derivatives or 1.0)
        value = fraction if self.value_weight is None else self.value_weight
        derivative = 1 - fraction if self.derivative_weight is None else self.derivative_weight
        return value, derivative

    def settings(self) -> dict[str, Any]:
        """Return the loss as plain data, for the record of a fit; ``from_settings`` is the inverse."""
        return {
            "name": self.name,
            "value_weight": self.value_weight,
            "derivative_weight": self.derivative_weight,
            "balanced": self.balanced,
            "pins": None if self.pins is None else self.pins.count,
            "huber": self.huber,
            "relative": self.relative,
            "monotone": self.monotone,
            "bounds": self.bounds,
        }


@final
class Value(Loss):
    """Mean square error of the values; derivative labels are ignored.

    Args:
        huber: errors beyond it count linearly, in spreads of the output for a scaled model; none do by default.
        relative: errors are divided by the size of their label, or by this where that is smaller, in the same unit; by
            default they are absolute.

    Raises:
        UsageError: a number that is not finite and above 0, or signs of another form.
    """

    name = "value"
    fits = "values"

    def __init__(
        self,
        *,
        huber: float | None = None,
        relative: float | None = None,
        monotone: str | None = None,
        bounds: str | None = None,
    ) -> None:
        super().__init__(huber=huber, relative=relative, monotone=monotone, bounds=bounds)

    @override
    def check(self, samples: Samples) -> None:
        _require_values("samples", samples, self.name)


@final
class Derivative(Loss):
    """Mean square error of the derivatives, with the values pinned at some points.

    A derivative fixes a function only up to a constant: the pins fix the constant. Values at the samples are
    not fitted, though the metric ``mae`` still measures them where they are known.

    Args:
        pins: samples whose values are fitted; their derivatives are ignored.
        balanced: whether each derivative is measured by its own size over the samples.
        huber: see ``Value``; the unit of a derivative is its size over the samples.
        relative: likewise.
        monotone: signs of derivatives, see ``Loss``.
        bounds: of outputs, see ``Loss``.

    Raises:
        DataError: no value is known at the pins.
        UsageError: a number that is not finite and above 0, or signs of another form.
    """

    name = "derivative"
    fits = "derivatives, and values in rows that have none"
    options = ("balanced", *PENALTIES)
    needs_pins = True

    def __init__(
        self,
        pins: Samples,
        *,
        balanced: bool = True,
        huber: float | None = None,
        relative: float | None = None,
        monotone: str | None = None,
        bounds: str | None = None,
    ) -> None:
        _require_values("pins", pins, self.name)
        super().__init__(
            derivative_weight=WEIGHT,
            balanced=balanced,
            pins=pins,
            huber=huber,
            relative=relative,
            monotone=monotone,
            bounds=bounds,
        )

    @override
    def check(self, samples: Samples) -> None:
        _require_derivatives(samples, self.name)


@final
class Sobolev(Loss):
    """Mean square errors of values and of derivatives, weighted.

    Args:
        value_weight: of the values, above 0; by default the balance's (see ``Loss.weights``).
        derivative_weight: of the derivatives, above 0; by default the balance's.
        balanced: whether each derivative is measured by its own size over the samples; without it, the default
            weights are 1 and the errors are in the model's units: the plain sum.
        huber: see ``Value``; the unit of a derivative is its size over the samples.
        relative: likewise.
        monotone: signs of derivatives, see ``Loss``.
        bounds: of outputs, see ``Loss``.

    Raises:
        UsageError: a number that is not finite and above 0, or signs of another form.
    """

    name = "sobolev"
    fits = "values and derivatives"
    options = ("value_weight", "derivative_weight", "balanced", *PENALTIES)

    def __init__(
        self,
        *,
        value_weight: float | None = None,
        derivative_weight: float | None = None,
        balanced: bool = True,
        huber: float | None = None,
        relative: float | None = None,
        monotone: str | None = None,
        bounds: str | None = None,
    ) -> None:
        default = None if balanced else WEIGHT
        super().__init__(
            value_weight=default if value_weight is None else _checked("value_weight", value_weight),
            derivative_weight=default
            if derivative_weight is None
            else _checked("derivative_weight", derivative_weight),
            balanced=balanced,
            huber=huber,
            relative=relative,
            monotone=monotone,
            bounds=bounds,
        )

    @override
    def check(self, samples: Samples) -> None:
        _require_values("samples", samples, self.name)
        _require_derivatives(samples, self.name)


_KNOWN: Final[dict[str, type[Loss]]] = {loss.name: loss for loss in (Sobolev, Value, Derivative)}


def names() -> list[str]:
    """Return the names of the losses, the default first."""
    return list(_KNOWN)


def kind(name: str) -> type[Loss]:
    """Return the class of a loss by its name: what it fits, and which settings it takes.

    Raises:
        UsageError: an unknown name.
    """
    if name not in _KNOWN:
        raise UsageError(f"loss {name!r}, expected one of {', '.join(names())}")
    return _KNOWN[name]


def get(name: str, *, pins: Samples | None = None, **settings: Any) -> Loss:
    """Return a loss by its name.

    Args:
        name: one of ``names()``.
        pins: rows whose values are fitted, for a loss that needs them; others ignore them.
        **settings: of the loss, those in its ``options``; None and those left out keep their defaults.

    Raises:
        UsageError: an unknown name or setting, a setting out of range, or no pins where they are needed.
    """
    loss = kind(name)
    settings = {option: value for option, value in settings.items() if value is not None}
    if unknown := [option for option in settings if option not in loss.options]:
        raise UsageError(f"loss {name!r} has no setting {unknown[0]!r}, it has {list(loss.options)}: leave it out")
    if loss.needs_pins:
        if pins is None:
            raise UsageError(f"loss {name!r} needs pins, rows whose values are fitted: give pins")
        settings["pins"] = pins
    return loss(**settings)


def from_settings(settings: Mapping[str, Any], pins: Samples | None) -> Loss:
    """Return the loss that a record of a fit describes.

    Args:
        settings: as ``Loss.settings`` returned them.
        pins: the rows that were recorded beside them, if any.

    Raises:
        KeyError: an unknown loss.
    """
    loss = _KNOWN[settings["name"]]
    return get(loss.name, pins=pins, **{option: settings.get(option) for option in loss.options})


def default_for(samples: Samples) -> str:
    """Return the name of the loss that fits every label of some samples: values alone where there is no derivative."""
    return Sobolev.name if samples.derivative_labels else Value.name


def _checked(name: str, weight: float) -> float:
    if not (math.isfinite(weight) and weight > 0):
        raise UsageError(f"{name} is {weight}, expected a finite number above 0: Value() fits values alone")
    return float(weight)


def _above_zero(name: str, size: float) -> float:
    if not (math.isfinite(size) and size > 0):
        raise UsageError(f"{name} is {size}, expected a finite number above 0")
    return float(size)


def _require_values(role: str, samples: Samples, loss: str) -> None:
    if not samples.value_labels:
        raise DataError(f"the {role} hold no value (y is NaN everywhere), the loss {loss!r} needs some: fill in y")


def _require_derivatives(samples: Samples, loss: str) -> None:
    if not samples.derivative_labels:
        raise DataError(f"the samples hold no derivative, the loss {loss!r} needs some: give dydx, or use Value()")
