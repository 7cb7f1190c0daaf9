r"""Networks of dense layers in NumPy, with their Jacobian with respect to the weights in one sweep.

The tape takes a reverse sweep for every residual; here all are swept together, as in back-propagation. With tangents
:math:`t_j = \partial a / \partial x_j` of every activation a, a dense layer with kernel W and bias c computes

.. math:: z = a W + c, \quad s_j = t_j W, \quad a' = \sigma(z), \quad t'_j = \sigma'(z) \, s_j .

The adjoint :math:`\delta = \partial f / \partial z`, which is also :math:`\partial (\partial_j f) / \partial s_j`, and
the tangent's adjoint :math:`q_j = \partial (\partial_j f) / \partial z` go backwards:

.. math:: \delta = \sigma'(z) \, \delta' W'^T, \quad
          q_j = \sigma'(z) \, q'_j W'^T + \sigma''(z) \, s_j \, \delta' W'^T,

and the derivatives with respect to the kernel are :math:`a \otimes \delta` for a value and
:math:`a \otimes q_j + t_j \otimes \delta` for a derivative, with respect to the bias :math:`\delta` and :math:`q_j`.
(The same algebra as in Pukrittayakamee et al., Neural Networks 24 (2011), for two layers.) Arrays are
``(rows, output elements, input elements, width)``, axes that a quantity does not have left out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from gradwire_training._jacobian.activations import ActivationFunction

Array: TypeAlias = "NDArray[np.float64]"


def _empty() -> Array:
    return np.empty(0)


@final
@dataclass(slots=True)
class Signal:
    """A value in the graph with its tangents, and the adjoints that the outputs send back to it."""

    value: Array  # (rows, width)
    tangents: Array  # (rows, input elements, width)
    d1: Array = field(default_factory=_empty)  # first derivative of the activation that made it, (rows, width)
    d2: Array = field(default_factory=_empty)  # second derivative
    adjoint: Array = field(default_factory=_empty)  # (rows, output elements, width); empty until a reader sends some
    tangent_adjoint: Array | None = None  # q above, (rows, output elements, input elements, width); None is zero

    def receive(self, adjoint: Array, tangent_adjoint: Array | None) -> None:
        """Add the adjoints that one of its readers sends back."""
        self.adjoint = self.adjoint + adjoint if self.adjoint.size else adjoint
        if tangent_adjoint is not None:
            previous = self.tangent_adjoint
            self.tangent_adjoint = tangent_adjoint if previous is None else previous + tangent_adjoint


@final
@dataclass(frozen=True, slots=True)
class Jacobian:
    """The Jacobian under construction, of the values and of the derivatives."""

    values: Array  # (rows, output elements, weights)
    derivatives: Array  # (rows, output elements, input elements, weights)


class Node(ABC):
    """One step of the graph, from signals to a signal."""

    @abstractmethod
    def forward(self, point: Array, inputs: Sequence[Signal]) -> Signal:
        """Compute value and tangents; ``point`` holds all weights."""

    @abstractmethod
    def backward(self, point: Array, inputs: Sequence[Signal], signal: Signal) -> None:
        """Send the adjoints of ``signal``, its own, back to its inputs."""

    def write(self, inputs: Sequence[Signal], signal: Signal, jacobian: Jacobian) -> None:
        """Write the derivatives with respect to its own weights; most nodes have none."""
        del inputs, signal, jacobian


@final
@dataclass(frozen=True, slots=True)
class Weight:
    """A kernel or a bias: a part of the vector of all weights, or a constant where it is not trained."""

    first: int | None  # where it begins in that vector; None for a constant
    start: Array  # its elements when the graph was made, and its shape

    @property
    def part(self) -> slice:
        """Its place in the vector of all weights."""
        first = self.first or 0
        return slice(first, first + self.start.size)

    def at(self, point: Array) -> Array:
        """Return it out of the vector of all weights."""
        return self.start if self.first is None else point[self.part].reshape(self.start.shape)


@final
@dataclass(frozen=True, slots=True)
class Linear(Node):
    """A dense layer before its activation: a W + c."""

    kernel: Weight  # (width in, width out)
    bias: Weight | None  # (width out,)

    @override
    def forward(self, point: Array, inputs: Sequence[Signal]) -> Signal:
        (source,) = inputs
        kernel = self.kernel.at(point)
        z = source.value @ kernel
        if self.bias is not None:
            z += self.bias.at(point)
        return Signal(z, _through(source.tangents, kernel))

    @override
    def backward(self, point: Array, inputs: Sequence[Signal], signal: Signal) -> None:
        kernel = self.kernel.at(point).T
        tangent_adjoint = None if signal.tangent_adjoint is None else _through(signal.tangent_adjoint, kernel)
        inputs[0].receive(_through(signal.adjoint, kernel), tangent_adjoint)

    @override
    def write(self, inputs: Sequence[Signal], signal: Signal, jacobian: Jacobian) -> None:
        adjoint, tangent_adjoint = signal.adjoint, signal.tangent_adjoint
        if self.bias is not None and self.bias.first is not None:
            jacobian.values[..., self.bias.part] = adjoint
            jacobian.derivatives[..., self.bias.part] = 0.0 if tangent_adjoint is None else tangent_adjoint
        if self.kernel.first is None:
            return
        (source,) = inputs
        # Views: NumPy splits a last axis without copying.
        values, derivatives = (
            part[..., self.kernel.part].reshape(*part.shape[:-1], *self.kernel.start.shape)
            for part in (jacobian.values, jacobian.derivatives)
        )
        np.multiply(source.value[:, None, :, None], adjoint[:, :, None, :], out=values)
        np.multiply(source.tangents[:, None, :, :, None], adjoint[:, :, None, None, :], out=derivatives)
        if tangent_adjoint is not None:
            derivatives += source.value[:, None, None, :, None] * tangent_adjoint[:, :, :, None, :]


@final
@dataclass(frozen=True, slots=True)
class Activation(Node):
    """An activation, element by element."""

    function: ActivationFunction

    @override
    def forward(self, point: Array, inputs: Sequence[Signal]) -> Signal:
        (source,) = inputs
        value, d1, d2 = self.function(source.value)
        return Signal(value, source.tangents * d1[:, None], d1, d2)

    @override
    def backward(self, point: Array, inputs: Sequence[Signal], signal: Signal) -> None:
        (source,) = inputs
        tangent_adjoint = (signal.adjoint * signal.d2[:, None])[:, :, None] * source.tangents[:, None]
        if signal.tangent_adjoint is not None:
            tangent_adjoint += signal.tangent_adjoint * signal.d1[:, None, None]
        source.receive(signal.adjoint * signal.d1[:, None], tangent_adjoint)


@final
@dataclass(frozen=True, slots=True)
class Affine(Node):
    """A constant factor and offset for each element: a scaling layer."""

    factor: Array  # (width,)
    offset: Array

    @override
    def forward(self, point: Array, inputs: Sequence[Signal]) -> Signal:
        (source,) = inputs
        return Signal(source.value * self.factor + self.offset, source.tangents * self.factor)

    @override
    def backward(self, point: Array, inputs: Sequence[Signal], signal: Signal) -> None:
        tangent_adjoint = None if signal.tangent_adjoint is None else signal.tangent_adjoint * self.factor
        inputs[0].receive(signal.adjoint * self.factor, tangent_adjoint)


@final
@dataclass(frozen=True, slots=True)
class Concatenation(Node):
    """Several signals, one behind the other."""

    @override
    def forward(self, point: Array, inputs: Sequence[Signal]) -> Signal:
        return Signal(
            np.concatenate([source.value for source in inputs], axis=-1),
            np.concatenate([source.tangents for source in inputs], axis=-1),
        )

    @override
    def backward(self, point: Array, inputs: Sequence[Signal], signal: Signal) -> None:
        first = 0
        for source in inputs:
            part = slice(first, first := first + source.value.shape[-1])
            tangent_adjoint = None if signal.tangent_adjoint is None else signal.tangent_adjoint[..., part]
            source.receive(signal.adjoint[..., part], tangent_adjoint)


@final
@dataclass(frozen=True, slots=True)
class Sum(Node):
    """The sum of several signals."""

    @override
    def forward(self, point: Array, inputs: Sequence[Signal]) -> Signal:
        first, *others = inputs
        return Signal(
            sum((source.value for source in others), first.value),
            sum((source.tangents for source in others), first.tangents),
        )

    @override
    def backward(self, point: Array, inputs: Sequence[Signal], signal: Signal) -> None:
        for source in inputs:
            source.receive(signal.adjoint, signal.tangent_adjoint)


@final
@dataclass(frozen=True, slots=True)
class Step:
    """A node, and the places of the signals that it reads; its own comes after all that were made before."""

    node: Node
    reads: tuple[int, ...]


@final
@dataclass(frozen=True, slots=True)
class Graph:
    """A network of dense layers."""

    steps: tuple[Step, ...]  # every signal is made before it is read; the first signals are the inputs
    outputs: tuple[int, ...]  # the place of each output's signal
    weights: int  # how many are trained

    def forward(self, point: Array, inputs: Sequence[Signal]) -> list[Signal]:
        """Return the inputs, and the signal of every step; ``point`` holds the trainable variables in order."""
        signals = list(inputs)
        for step in self.steps:
            signals.append(step.node.forward(point, [signals[i] for i in step.reads]))
        return signals

    def backward(self, point: Array, signals: Sequence[Signal], jacobian: Jacobian) -> None:
        """Fill in the Jacobian; the signals, as ``forward`` returned them, are used up."""
        widths = [signals[place].value.shape[-1] for place in self.outputs]
        first = 0
        for place, width in zip(self.outputs, widths, strict=True):
            unit = np.eye(sum(widths))[:, first : first + width]
            signals[place].receive(np.broadcast_to(unit, (len(jacobian.values), *unit.shape)), None)
            first += width
        begin = len(signals) - len(self.steps)
        for index, step in reversed(list(enumerate(self.steps, begin))):
            if signals[index].adjoint.size:
                inputs = [signals[i] for i in step.reads]
                step.node.write(inputs, signals[index], jacobian)
                step.node.backward(point, inputs, signals[index])


def _through(array: Array, kernel: Array) -> Array:
    """Multiply the last axis by a matrix in one call of BLAS: NumPy would make one a row."""
    return (array.reshape(-1, array.shape[-1]) @ kernel).reshape(*array.shape[:-1], kernel.shape[-1])
