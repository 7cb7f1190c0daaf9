"""How to compute the derivatives of a batched function row by row: the interface, and the types of its arguments."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, final

Tensors: TypeAlias = dict[str, Any]  # tf.Tensor; TensorFlow types what a tape returns as a wider union
Gradients: TypeAlias = dict[str, Tensors]  # output -> input -> first derivative
SecondDerivatives: TypeAlias = dict[str, Gradients]  # output -> first input -> second input -> second derivative
TensorFunction: TypeAlias = Callable[[Tensors], Tensors]


@final
@dataclass(frozen=True)
class Differentiable:
    """A batched function of independent rows, and which of its derivatives are computed.

    Attributes:
        call: ``{input: tensor}`` in, ``{output: tensor}`` out, each ``(batch, *row)``.
        differentiated: output -> the inputs that it is differentiated with respect to, at least one for each output.
        shapes: row shape of every differentiated output.
    """

    call: TensorFunction
    differentiated: Mapping[str, Sequence[str]]
    shapes: Mapping[str, tuple[int, ...]]

    @property
    def wrt(self) -> list[str]:
        """Every input that some output is differentiated with respect to, once."""
        return list(dict.fromkeys(wrt for inputs in self.differentiated.values() for wrt in inputs))

    @property
    def sizes(self) -> dict[str, int]:
        """How many elements a row of each differentiated output has."""
        return {output: math.prod(self.shapes[output]) for output in self.differentiated}

    @property
    def size(self) -> int:
        """How many elements a row of all differentiated outputs has."""
        return sum(self.sizes.values())


class Strategy(ABC):
    """A way to take a reverse sweep from each of several elements."""

    @abstractmethod
    def n_repeats(self, n_sweeps: int) -> int:
        """Return how often the rows are repeated for a number of sweeps."""

    @abstractmethod
    def gradients(self, function: Differentiable, x: Tensors) -> tuple[Tensors, Gradients]:
        """Evaluate a function and its first derivatives.

        Args:
            function: what to differentiate.
            x: the inputs, ``(batch, *input)``.

        Returns:
            The outputs, and output -> input -> derivative ``(batch, *shape)`` with the shapes of the contract.
        """

    @abstractmethod
    def hvp(self, function: Differentiable, x: Tensors, tangents: Tensors) -> tuple[Tensors, Gradients, Gradients]:
        """Evaluate a function, its first derivatives, and their derivatives along a tangent.

        Args:
            function: what to differentiate.
            x: the inputs, ``(batch, *input)``.
            tangents: of every input in ``function.wrt``, ``(batch, *input)``.

        Returns:
            The outputs, output -> input -> derivative, and output -> input -> its derivative along the tangents, both
            ``(batch, *shape)`` with the shapes of the contract.
        """

    @abstractmethod
    def hessian(self, function: Differentiable, x: Tensors) -> tuple[Tensors, Gradients, SecondDerivatives]:
        """Evaluate a function, its first derivatives and its Hessians.

        A second sweep that finds no path returns zeros: a function that is linear in its inputs has that Hessian. That
        the path is not merely hidden by an operation without a gradient is what ``_analysis`` ensures.

        Args:
            function: what to differentiate.
            x: the inputs, ``(batch, *input)``.

        Returns:
            The outputs, output -> input -> derivative, and output -> first input -> second input -> second derivative,
            each pair once in the order of ``x``; all ``(batch, *shape)`` with the shapes of the contract.
        """


def row_of(tensor: Any) -> list[int]:
    """Return the shape of a row, without the batch axis."""
    return [size or 0 for size in tensor.shape.as_list()[1:]]
