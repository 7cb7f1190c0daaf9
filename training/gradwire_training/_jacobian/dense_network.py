r"""Networks of dense layers in NumPy, with their Jacobian by the weights in one sweep.

The tape takes a reverse sweep for every residual; here all are swept together, as in back-propagation. With tangents
:math:`t_j = \partial a / \partial x_j` of every activation a, a dense layer with kernel W and bias c computes

.. math:: z = a W + c, \quad s_j = t_j W, \quad a' = \sigma(z), \quad t'_j = \sigma'(z) \, s_j .

Backwards go :math:`\delta = \partial f / \partial z`, which is also :math:`\partial (\partial_j f) / \partial s_j`, and
:math:`q_j = \partial (\partial_j f) / \partial z`:

.. math:: \delta = \sigma'(z) \, \delta' W'^T, \quad
          q_j = \sigma'(z) \, q'_j W'^T + \sigma''(z) \, s_j \, \delta' W'^T,

and the derivatives by the kernel are :math:`a \otimes \delta` for a value and :math:`a \otimes q_j + t_j \otimes \delta`
for a derivative, by the bias :math:`\delta` and :math:`q_j`. (The same algebra as in Pukrittayakamee et al., Neural
Networks 24 (2011), for two layers.) Arrays are ``(rows, output numbers, input numbers, width)``, axes that a quantity
does not have left out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias, final

import numpy as np

from gradwire_training._jacobian.activations import Activation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

Array: TypeAlias = "NDArray[np.float64]"


def _nothing() -> Array:
    return np.empty(0)


@final
@dataclass(slots=True)
class Signal:
    """A value on its way through the graph, and what the outputs make of it on the way back.

    Attributes:
        value: ``(rows, width)``.
        tangents: ``(rows, input numbers, width)``.
        slope: of an activation, where one made it: ``(rows, width)``.
        bend: the slope's own slope, likewise.
        adjoint: ``(rows, output numbers, width)``: of every output; empty while nothing came back.
        bent: ``(rows, output numbers, input numbers, width)``: of every derivative, q in the module's formulae; None
            stands for zero.
    """

    value: Array
    tangents: Array
    slope: Array = field(default_factory=_nothing)
    bend: Array = field(default_factory=_nothing)
    adjoint: Array = field(default_factory=_nothing)
    bent: Array | None = None

    def receive(self, adjoint: Array, bent: Array | None) -> None:
        """Adds what one of its readers sends back."""
        self.adjoint = self.adjoint + adjoint if self.adjoint.size else adjoint
        if bent is not None:
            self.bent = bent if self.bent is None else self.bent + bent


@final
@dataclass(frozen=True, slots=True)
class Columns:
    """The Jacobian under construction; the two share nothing.

    Attributes:
        values: ``(rows, output numbers, weights)``.
        slopes: ``(rows, output numbers, input numbers, weights)``.
    """

    values: Array
    slopes: Array


class Node(ABC):
    """One step of the graph, from signals to a signal."""

    @abstractmethod
    def forward(self, point: Array, taken: Sequence[Signal]) -> Signal:
        """Computes value and tangents; ``point`` holds all weights."""

    @abstractmethod
    def backward(self, point: Array, taken: Sequence[Signal], given: Signal) -> None:
        """Sends back what came to ``given``, its own signal."""

    def write(self, taken: Sequence[Signal], given: Signal, columns: Columns) -> None:
        """Writes the derivatives by its own weights; most nodes have none."""
        del taken, given, columns


@final
@dataclass(frozen=True, slots=True)
class Weight:
    """A kernel or a bias: a part of the vector of all weights, or a constant where it is not trained.

    Attributes:
        first: where it begins in that vector; None for a constant.
        start: its numbers when the graph was made, and its shape.
    """

    first: int | None
    start: Array

    @property
    def part(self) -> slice:
        """Its place in the vector of all weights."""
        first = self.first or 0
        return slice(first, first + self.start.size)

    def at(self, point: Array) -> Array:
        """Reads it from the vector of all weights."""
        return self.start if self.first is None else point[self.part].reshape(self.start.shape)


@final
@dataclass(frozen=True, slots=True)
class Linear(Node):
    """A dense layer before its activation: a W + c.

    Attributes:
        kernel: ``(width in, width out)``.
        bias: ``(width out,)``; None for a layer without one.
    """

    kernel: Weight
    bias: Weight | None

    def forward(self, point: Array, taken: Sequence[Signal]) -> Signal:
        """See ``Node.forward``."""
        (signal,) = taken
        kernel = self.kernel.at(point)
        z = signal.value @ kernel
        if self.bias is not None:
            z += self.bias.at(point)
        return Signal(z, _through(signal.tangents, kernel))

    def backward(self, point: Array, taken: Sequence[Signal], given: Signal) -> None:
        """See ``Node.backward``."""
        kernel = self.kernel.at(point).T
        bent = None if given.bent is None else _through(given.bent, kernel)
        taken[0].receive(_through(given.adjoint, kernel), bent)

    def write(self, taken: Sequence[Signal], given: Signal, columns: Columns) -> None:
        """See ``Node.write``."""
        adjoint, bent = given.adjoint, given.bent
        if self.bias is not None and self.bias.first is not None:
            columns.values[..., self.bias.part] = adjoint
            columns.slopes[..., self.bias.part] = 0.0 if bent is None else bent
        if self.kernel.first is None:
            return
        (signal,) = taken
        # Views: NumPy splits a last axis without copying.
        values, slopes = (
            part[..., self.kernel.part].reshape(*part.shape[:-1], *self.kernel.start.shape)
            for part in (columns.values, columns.slopes)
        )
        np.multiply(signal.value[:, None, :, None], adjoint[:, :, None, :], out=values)
        np.multiply(signal.tangents[:, None, :, :, None], adjoint[:, :, None, None, :], out=slopes)
        if bent is not None:
            slopes += signal.value[:, None, None, :, None] * bent[:, :, :, None, :]


@final
@dataclass(frozen=True, slots=True)
class Curve(Node):
    """An activation, number by number."""

    activation: Activation

    def forward(self, point: Array, taken: Sequence[Signal]) -> Signal:
        """See ``Node.forward``."""
        (signal,) = taken
        value, slope, bend = self.activation(signal.value)
        return Signal(value, signal.tangents * slope[:, None], slope, bend)

    def backward(self, point: Array, taken: Sequence[Signal], given: Signal) -> None:
        """See ``Node.backward``."""
        (signal,) = taken
        bent = (given.adjoint * given.bend[:, None])[:, :, None] * signal.tangents[:, None]
        if given.bent is not None:
            bent += given.bent * given.slope[:, None, None]
        signal.receive(given.adjoint * given.slope[:, None], bent)


@final
@dataclass(frozen=True, slots=True)
class Affine(Node):
    """A constant factor and offset for each number: a scaling layer.

    Attributes:
        factor: ``(width,)``.
        offset: ``(width,)``.
    """

    factor: Array
    offset: Array

    def forward(self, point: Array, taken: Sequence[Signal]) -> Signal:
        """See ``Node.forward``."""
        (signal,) = taken
        return Signal(signal.value * self.factor + self.offset, signal.tangents * self.factor)

    def backward(self, point: Array, taken: Sequence[Signal], given: Signal) -> None:
        """See ``Node.backward``."""
        bent = None if given.bent is None else given.bent * self.factor
        taken[0].receive(given.adjoint * self.factor, bent)


@final
@dataclass(frozen=True, slots=True)
class Join(Node):
    """Several signals side by side."""

    def forward(self, point: Array, taken: Sequence[Signal]) -> Signal:
        """See ``Node.forward``."""
        return Signal(
            np.concatenate([signal.value for signal in taken], axis=-1),
            np.concatenate([signal.tangents for signal in taken], axis=-1),
        )

    def backward(self, point: Array, taken: Sequence[Signal], given: Signal) -> None:
        """See ``Node.backward``."""
        first = 0
        for signal in taken:
            part = slice(first, first := first + signal.value.shape[-1])
            signal.receive(given.adjoint[..., part], None if given.bent is None else given.bent[..., part])


@final
@dataclass(frozen=True, slots=True)
class Sum(Node):
    """Several signals added up."""

    def forward(self, point: Array, taken: Sequence[Signal]) -> Signal:
        """See ``Node.forward``."""
        first, *others = taken
        return Signal(
            sum((signal.value for signal in others), first.value),
            sum((signal.tangents for signal in others), first.tangents),
        )

    def backward(self, point: Array, taken: Sequence[Signal], given: Signal) -> None:
        """See ``Node.backward``."""
        for signal in taken:
            signal.receive(given.adjoint, given.bent)


def _through(array: Array, kernel: Array) -> Array:
    """Multiplies the last axis by a matrix in one call of BLAS: NumPy would make one a row."""
    return (array.reshape(-1, array.shape[-1]) @ kernel).reshape(*array.shape[:-1], kernel.shape[-1])
