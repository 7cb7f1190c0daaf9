"""How to compute the derivatives of a batched function row by row: the interface, and the types of its arguments."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import tensorflow as tf

Tensors: TypeAlias = dict[str, Any]  # tf.Tensor; TensorFlow types what a tape returns as a wider union
Gradients: TypeAlias = dict[str, Tensors]  # output -> input -> first derivative
SecondDerivatives: TypeAlias = dict[str, Gradients]  # output -> first input -> second input -> second derivative
TensorFunction: TypeAlias = Callable[[Tensors], Tensors]


@final
@dataclass(frozen=True)
class Differentiable:
    """A batched function of independent rows, and which of its derivatives are computed."""

    call: TensorFunction  # {input: tensor} in, {output: tensor} out, each (batch, *row)
    # output -> the inputs that it is differentiated with respect to, at least one for each output
    differentiated: Mapping[str, Sequence[str]]
    shapes: Mapping[str, tuple[int, ...]]  # row shape of every differentiated output

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
    """A way to take a reverse sweep from each of several elements.

    Inputs and tangents are ``(batch, *input)``; derivatives are ``(batch, *shape)`` with the shapes of the contract.
    """

    @abstractmethod
    def n_repeats(self, n_sweeps: int) -> int:
        """Return how often the rows are repeated for a number of sweeps."""

    @abstractmethod
    def gradients(self, function: Differentiable, x: Tensors) -> tuple[Tensors, Gradients]:
        """Evaluate a function and its first derivatives."""

    @abstractmethod
    def hvp(self, function: Differentiable, x: Tensors, tangents: Tensors) -> tuple[Tensors, Gradients, Gradients]:
        """Evaluate a function, its first derivatives, and their derivatives along tangents of all inputs in ``wrt``."""

    @abstractmethod
    def hessian(self, function: Differentiable, x: Tensors) -> tuple[Tensors, Gradients, SecondDerivatives]:
        """Evaluate a function, its first derivatives and its Hessians, each pair of inputs once in the order of x.

        A second sweep that finds no path returns zeros: a function that is linear in its inputs has that Hessian. That
        the path is not merely hidden by an operation without a gradient is what ``_analysis`` ensures.
        """


def sweep_back(tape: tf.GradientTape, targets: Any, wrt: Tensors, cotangents: Any) -> Tensors:
    """Return the gradients of a tape by name: zeros where no path leads, nothing sparse, and of known shapes.

    TensorFlow loses the static shape of a gradient on the way, in that of a slice for instance; a signature would then
    promise rows of any size.
    """
    swept = tape.gradient(targets, wrt, output_gradients=cotangents, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    gradients = {name: tf.convert_to_tensor(gradient) for name, gradient in swept.items()}
    for name, gradient in gradients.items():
        gradient.set_shape(wrt[name].shape)
    return gradients


def row_count(tensors: Tensors) -> Any:
    """Return the size of the batch, as a tensor."""
    return tf.shape(next(iter(tensors.values())))[0]


def row_of(tensor: Any) -> list[int]:
    """Return the shape of a row, without the batch axis."""
    return [size or 0 for size in tensor.shape.as_list()[1:]]
