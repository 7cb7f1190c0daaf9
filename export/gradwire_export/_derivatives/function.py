"""A batched function whose derivatives are computed row by row, and a reverse sweep."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar, final

import tensorflow as tf

Tensors: TypeAlias = dict[str, Any]  # tf.Tensor; TensorFlow types what a tape returns as a wider union
Gradients: TypeAlias = dict[str, Tensors]  # output -> input -> first derivative
SecondDerivatives: TypeAlias = dict[str, Gradients]  # output -> first input -> second input -> second derivative
TensorFunction: TypeAlias = Callable[[Tensors], Tensors]
Key = TypeVar("Key", bound=Hashable)  # what tensors are looked up by


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


def sweep_back(tape: tf.GradientTape, targets: Any, wrt: dict[Key, Any], cotangents: Any) -> dict[Key, Any]:
    """Return the gradients of a tape by name: zeros where no path leads, nothing sparse, and of known shapes.

    TensorFlow loses the static shape of a gradient on the way, in that of a slice for instance; a signature would then
    promise rows of any size.
    """
    swept = tape.gradient(
        targets, list(wrt.values()), output_gradients=cotangents, unconnected_gradients=tf.UnconnectedGradients.ZERO
    )
    gradients = {name: tf.convert_to_tensor(gradient) for name, gradient in zip(wrt, swept, strict=True)}
    for name, gradient in gradients.items():
        gradient.set_shape(wrt[name].shape)
    return gradients


def row_count(tensors: Tensors) -> Any:
    """Return the size of the batch, as a tensor."""
    return tf.shape(next(iter(tensors.values())))[0]


def row_of(tensor: Any) -> list[int]:
    """Return the shape of a row, without the batch axis."""
    return [size or 0 for size in tensor.shape.as_list()[1:]]
