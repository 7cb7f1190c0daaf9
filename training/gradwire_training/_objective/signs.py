r"""Signs that a fit is drawn to: slopes that are to be positive or negative, and values above or below a bound.

Each adds to the loss the mean, over points, of the square of what violates it,

.. math:: \kappa \; \mathrm{mean} \max\left(0, \frac{b - f}{u}\right)^2, \qquad
          \kappa \; \mathrm{mean} \max\left(0, -\frac{s_x}{u} \frac{\partial f}{\partial x}\right)^2,

in the units in which errors count: u of the output, and the input's spread s_x (a penalty method: Nocedal and Wright,
Numerical Optimization, 2006, chapter 17.1; of networks' slopes, Gupta et al., arXiv 1909.10662). The points are the
fitted rows and random ones of their box. That trains a sign and proves none: where a fit was not looked at, and by a
little where labels speak against it, it may be violated, and a fit measures how often.

To add a kind: a class here, a setting of ``Loss``, and an option of the command.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, final

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from typing_extensions import override

from gradwire._errors import UsageError
from gradwire_training._data import Samples, Stream, Table
from gradwire_training._models import IoBinding, Units, input_scales

Bounds: TypeAlias = "tuple[Table, Table]"  # lower and upper ones of every input

STRENGTH: Final = 1_000.0  # kappa: violations of a hundredth of the unit count as errors of a third of it
MOST_ROWS: Final = 1_000  # of the fitted ones, and as many random points at most: a step then takes some milliseconds
FEWEST_POINTS: Final = 200  # random ones
POINTS_PER_ROW: Final = 4
RANDOM_STREAM: Final = 9  # of random numbers, apart from those behind points, weights and splits

SLOPE: Final = re.compile(r"(\w+):(\w+)(?:\[(\d+)\])?([+-])")
BOUND: Final = re.compile(r"(\w+)\s*(>=|<=)\s*(\S+)")


class Sign(ABC):
    """One sign: of the slope of an output, or of its distance from a bound."""

    text: str  # as the loss's setting has it
    output: str

    @property
    def wrt(self) -> tuple[str, ...]:
        """The inputs that it differentiates with respect to."""
        return ()

    @abstractmethod
    def excess(self, values: Mapping[str, Any], derivatives: Mapping[str, Any]) -> Any:
        """Return by how much points violate it, ``(rows, elements)``, tensors or arrays; below zero they keep it."""

    @abstractmethod
    def unit(self, units: Units, samples: Samples, binding: IoBinding) -> NDArray[np.float64]:
        """Return in which unit that counts, ``(elements,)`` or ``(1,)``."""

    @abstractmethod
    def check(self, binding: IoBinding) -> None:
        """Raise if a model has no such output or input.

        Raises:
            UsageError: it has not.
        """

    def _check_output(self, binding: IoBinding) -> None:
        _require(self.text, "output", self.output, [tensor.name for tensor in binding.outputs])


@final
@dataclass(frozen=True, slots=True)
class Slope(Sign):
    """The sign of an output's derivative with respect to an input, or to one element of it."""

    text: str
    output: str
    input: str
    element: int | None
    sign: int

    def __str__(self) -> str:
        """Return it in words."""
        element = "" if self.element is None else f"[{self.element}]"
        return f"{self.output} {'rises' if self.sign > 0 else 'falls'} with {self.input}{element}"

    @property
    @override
    def wrt(self) -> tuple[str, ...]:
        return (self.input,)

    @override
    def excess(self, values: Mapping[str, Any], derivatives: Mapping[str, Any]) -> Any:
        derivative, value = derivatives[self.output][self.input], values[self.output]
        elements, outputs = (int(np.prod(tensor.shape[1:])) for tensor in (derivative, value))
        flat = tf.reshape(derivative, [-1, elements])
        return -self.sign * (flat if self.element is None else flat[:, self.element :: elements // outputs])

    @override
    def unit(self, units: Units, samples: Samples, binding: IoBinding) -> NDArray[np.float64]:
        shape = next(tensor.shape for tensor in binding.outputs if tensor.name == self.output)
        outer = np.broadcast_to(units.outputs[self.output], shape).ravel()
        spread = input_scales(samples)[self.input].spread.ravel()
        return (outer[:, None] / (spread if self.element is None else spread[[self.element]])).ravel()

    @override
    def check(self, binding: IoBinding) -> None:
        self._check_output(binding)
        inputs = {tensor.name: tensor for tensor in binding.inputs}
        _require(self.text, "input", self.input, [name for name, tensor in inputs.items() if tensor.is_floating])
        size = int(np.prod(inputs[self.input].shape))
        if self.element is not None and self.element >= size:
            raise UsageError(f"{self.text!r} is of element {self.element} of {self.input!r}, which has {size}")


@final
@dataclass(frozen=True, slots=True)
class Bound(Sign):
    """A number that an output stays above, or below."""

    text: str
    output: str
    at: float
    sign: int  # 1 above it, -1 below it

    def __str__(self) -> str:
        """Return it in words."""
        return f"{self.output} {'>=' if self.sign > 0 else '<='} {self.at:g}"

    @override
    def excess(self, values: Mapping[str, Any], derivatives: Mapping[str, Any]) -> Any:
        value = values[self.output]
        return self.sign * (self.at - tf.reshape(value, [-1, int(np.prod(value.shape[1:]))]))

    @override
    def unit(self, units: Units, samples: Samples, binding: IoBinding) -> NDArray[np.float64]:
        return np.asarray(units.outputs[self.output]).ravel()

    @override
    def check(self, binding: IoBinding) -> None:
        self._check_output(binding)


def read_slopes(text: str | None) -> tuple[Sign, ...]:
    """Read ``"px:S0+, px:T-, y:x[1]+"``: output, input, and the sign of the derivative.

    Raises:
        UsageError: it is not of that form.
    """
    signs: list[Sign] = []
    for part in _parts(text):
        if (match := SLOPE.fullmatch(part)) is None:
            raise UsageError(f"monotone {part!r}, expected OUTPUT:INPUT and + or -, such as px:S0+")
        output, wrt, element, sign = match.groups()
        signs.append(Slope(part, output, wrt, None if element is None else int(element), 1 if sign == "+" else -1))
    return tuple(signs)


def read_bounds(text: str | None) -> tuple[Sign, ...]:
    """Read ``"px>=0, px<=1"``.

    Raises:
        UsageError: it is not of that form.
    """
    signs: list[Sign] = []
    for part in _parts(text):
        match = BOUND.fullmatch(part)
        at = None if match is None else _number(match[3])
        if match is None or at is None:
            raise UsageError(f"bounds {part!r}, expected OUTPUT>=NUMBER or OUTPUT<=NUMBER, such as px>=0")
        signs.append(Bound(part, match[1], at, 1 if match[2] == ">=" else -1))
    return tuple(signs)


@final
class SignLoss:
    """What signs add to a loss, at fixed points."""

    def __init__(
        self,
        signs: Sequence[Sign],
        samples: Samples,
        binding: IoBinding,
        units: Units,
        *,
        dtype: str,
        bounds: Bounds | None = None,
        seed: int = 0,
    ) -> None:
        for sign in signs:
            sign.check(binding)
        self._signs = signs
        self._units = [tf.constant(sign.unit(units, samples, binding), dtype) for sign in signs]
        most = int(np.clip(POINTS_PER_ROW * samples.count, FEWEST_POINTS, MOST_ROWS))
        points = sign_points(samples, binding, rows=MOST_ROWS, points=most, bounds=bounds, seed=seed)
        self.x = {
            tensor.name: tf.constant(points[tensor.name], dtype if tensor.is_floating else tensor.dtype)
            for tensor in binding.inputs
        }
        self.wrt = pairs_of(signs)

    def __call__(self, values: Mapping[str, Any], derivatives: Mapping[str, Any]) -> Any:
        """Return what is added, of the model's values and derivatives at ``x``."""
        excesses = (sign.excess(values, derivatives) for sign in self._signs)
        squares = [tf.square(tf.nn.relu(excess / unit)) for excess, unit in zip(excesses, self._units, strict=True)]
        return STRENGTH * tf.add_n([tf.reduce_mean(square) for square in squares])


def sign_points(
    samples: Samples, binding: IoBinding, *, rows: int, points: int, bounds: Bounds | None = None, seed: int = 0
) -> Table:
    """Return points at which signs are looked at: some of the rows, and random points of their box.

    Integer inputs of random points are those of rows, drawn at random.

    Args:
        samples: whose rows.
        binding: with the model's inputs.
        rows: at most.
        points: that are random.
        bounds: of the box; by default those of the rows.
        seed: of the choice.

    Returns:
        Columns by input, ``(points, *row shape)``.
    """
    generator = np.random.default_rng(np.random.SeedSequence((seed, RANDOM_STREAM)))
    chosen = generator.permutation(samples.count)[:rows]
    table: Table = {}
    for tensor in binding.inputs:
        column = samples.x[tensor.name].reshape(-1, *tensor.shape)
        if tensor.is_floating:
            lower, upper = (column.min(axis=0), column.max(axis=0)) if bounds is None else _bounds(bounds, tensor)
            drawn = generator.uniform(lower, upper, (points, *tensor.shape))
        else:
            drawn = column[generator.integers(samples.count, size=points)]
        table[tensor.name] = np.concatenate([column[chosen], drawn])
    return table


def pairs_of(signs: Sequence[Sign]) -> dict[str, list[str]]:
    """Return what signs differentiate, and with respect to what."""
    pairs: dict[str, list[str]] = {}
    for sign in signs:
        pairs[sign.output] = list(dict.fromkeys((*pairs.get(sign.output, ()), *sign.wrt)))
    return {output: wrt for output, wrt in pairs.items() if wrt}


def bounds_of(stream: Stream | None) -> Bounds | None:
    """Return the box of all rows of a stream; None without one."""
    return None if stream is None else (stream.lower, stream.upper)


def _bounds(bounds: Bounds, tensor: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    lower, upper = (table[tensor.name].reshape(tensor.shape) for table in bounds)
    return lower, upper


def _parts(text: str | None) -> list[str]:
    return [] if text is None else [part.strip() for part in text.split(",")]


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if np.isfinite(number) else None


def _require(text: str, role: str, name: str, names: Sequence[str]) -> None:
    if name not in names:
        raise UsageError(f"{text!r} names the {role} {name!r}, the model has {list(names)}: use one of those")
