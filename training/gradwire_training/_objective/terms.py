"""The terms of a loss: the values of an output, its partial derivatives, or those along components or directions.

What differs between them is decided here: which column holds a term's labels, how a model predicts it, and where it
lies among the elements of a row. The labels themselves are held once, as tensors (``tensors.py``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from typing_extensions import override

from gradwire._errors import DataError
from gradwire._package import derivative_shape
from gradwire_training._data import ColumnKey, Samples
from gradwire_training._models import Components, IoBinding, Units
from gradwire_training._objective.losses import Loss
from gradwire_training._objective.rows import FittedRows
from gradwire_training._objective.weighting import Weighting

Array: TypeAlias = "NDArray[np.float64]"


@final
@dataclass(frozen=True, slots=True)
class Layout:
    """Where outputs and inputs lie among the elements of a row."""

    outputs: Mapping[str, slice]
    inputs: Mapping[str, slice]  # those that some term differentiates with respect to, among themselves
    directions: Array  # (rows, input elements), zero where nothing moves
    along_components: bool = False  # whether derivatives are with respect to components, in place of inputs


@dataclass(frozen=True, slots=True)
class Term(ABC):
    """One kind of labels of one output, and what an error of each counts."""

    key: ColumnKey  # of the column that holds its labels
    factor: Array  # what errors are multiplied by before they are squared and summed, of the shape of a row of labels
    scale: float  # the part of it that is no unit: the root of the term's weight over the number of labels

    @property
    def output(self) -> str:
        """The name of the output."""
        return self.key.output

    @property
    def wrt(self) -> tuple[str, ...]:
        """The inputs that it differentiates with respect to; empty for values."""
        return ()

    @property
    def directions(self) -> tuple[str, ...]:
        """The inputs whose directions it needs."""
        return ()

    @abstractmethod
    def predict(self, values: Mapping[str, Any], derivatives: Mapping[str, Any], directions: Mapping[str, Any]) -> Any:
        """Return the model's prediction, a tensor ``(rows, *row shape)``; directions are ``(rows, elements)``."""

    @abstractmethod
    def select(self, values: Array, derivatives: Array, layout: Layout, rows: slice) -> Array:
        """Return the term's part of all predictions, ``(rows, elements of a label)``.

        Values are ``(rows, output elements)``, derivatives ``(rows, output elements, input elements)``; all may have
        an axis of weights behind them, as their Jacobian has.
        """

    def row_shape(self, binding: IoBinding) -> tuple[int, ...]:
        """Return the shape of a row of labels as the model has it; raise where an input has no derivative."""
        inputs = {tensor.name: tensor for tensor in binding.inputs}
        for name in self.wrt:
            if not inputs[name].is_floating:
                label = ColumnKey("dydx", self.output, name).label
                raise DataError(f"{label}: the model's {name!r} is an integer: leave it out of dydx")
        shape = next(tensor.shape for tensor in binding.outputs if tensor.name == self.output)
        return self._label_shape(shape, {name: tensor.shape for name, tensor in inputs.items()})

    def _label_shape(self, output: tuple[int, ...], inputs: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
        del inputs
        return output


@final
@dataclass(frozen=True, slots=True)
class ValueTerm(Term):
    """The values of an output."""

    @override
    def predict(self, values: Mapping[str, Any], derivatives: Mapping[str, Any], directions: Mapping[str, Any]) -> Any:
        return values[self.output]

    @override
    def select(self, values: Array, derivatives: Array, layout: Layout, rows: slice) -> Array:
        return values[:, layout.outputs[self.output]]


@final
@dataclass(frozen=True, slots=True)
class PartialTerm(Term):
    """The partial derivatives of an output with respect to an input."""

    @property
    @override
    def wrt(self) -> tuple[str, ...]:
        return (self.key.input,)

    @override
    def predict(self, values: Mapping[str, Any], derivatives: Mapping[str, Any], directions: Mapping[str, Any]) -> Any:
        return derivatives[self.output][self.key.input]

    @override
    def select(self, values: Array, derivatives: Array, layout: Layout, rows: slice) -> Array:
        part = derivatives[:, layout.outputs[self.output], layout.inputs[self.key.input]]
        return part.reshape(len(part), -1, *part.shape[3:])

    @override
    def _label_shape(self, output: tuple[int, ...], inputs: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
        return derivative_shape(output, inputs[self.key.input])


@final
@dataclass(frozen=True, slots=True)
class DirectionalTerm(Term):
    """The derivatives of an output along a direction a row: the sum of dy/dx x_dot over the inputs."""

    inputs: tuple[str, ...]

    @property
    @override
    def wrt(self) -> tuple[str, ...]:
        return self.inputs

    @property
    @override
    def directions(self) -> tuple[str, ...]:
        return self.inputs

    @override
    def predict(self, values: Mapping[str, Any], derivatives: Mapping[str, Any], directions: Mapping[str, Any]) -> Any:
        parts: list[Any] = []
        for name in self.inputs:
            derivative, direction = derivatives[self.output][name], directions[name]
            jacobian = tf.reshape(derivative, [tf.shape(derivative)[0], -1, direction.shape[1]])
            parts.append(tf.einsum("bof,bf->bo", jacobian, direction))
        return tf.reshape(tf.add_n(parts), tf.shape(values[self.output]))

    @override
    def select(self, values: Array, derivatives: Array, layout: Layout, rows: slice) -> Array:
        part, directions = derivatives[:, layout.outputs[self.output]], layout.directions[rows]
        return np.einsum("boi,bi->bo" if part.ndim == 3 else "boip,bi->bop", part, directions)  # noqa: PLR2004 - an axis of weights


@final
@dataclass(frozen=True, slots=True)
class ComponentTerm(Term):
    """The derivatives of an output with respect to the components that the model sees of all its inputs."""

    components: Components

    @property
    @override
    def wrt(self) -> tuple[str, ...]:
        return self.components.inputs

    @override
    def predict(self, values: Mapping[str, Any], derivatives: Mapping[str, Any], directions: Mapping[str, Any]) -> Any:
        rows, size = tf.shape(values[self.output])[0], self.factor.shape[0]
        parts = [tf.reshape(derivatives[self.output][name], [rows, size, -1]) for name in self.components.inputs]
        gradient = tf.concat(parts, 2)
        return tf.einsum("boi,ik->bok", gradient, tf.constant(self.components.basis, gradient.dtype))

    @override
    def select(self, values: Array, derivatives: Array, layout: Layout, rows: slice) -> Array:
        part = derivatives[:, layout.outputs[self.output]]
        if layout.along_components:
            return part.reshape(len(part), -1, *part.shape[3:])
        gradient = np.concatenate([part[:, :, layout.inputs[name]] for name in self.components.inputs], axis=2)
        along = np.einsum("boi...,ik->bok...", gradient, self.components.basis)
        return along.reshape(len(along), -1, *along.shape[3:])

    @override
    def _label_shape(self, output: tuple[int, ...], inputs: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
        return self.factor.shape


def terms_of(
    rows: FittedRows, samples: Samples, loss: Loss, units: Units, components: Components | None = None
) -> list[Term]:
    """Return the terms of a loss: values in the samples' order, then derivatives, then directional ones.

    The components are those that ``rows`` are ``along``.
    """
    weighting = Weighting(rows, samples, loss, units)
    terms: list[Term] = []
    for key, column in rows.labels.items():
        match key.role:
            case "y":
                terms.append(ValueTerm(key, *weighting.value(key.output)))
            case "dydx" if components is not None and not key.input:
                terms.append(ComponentTerm(key, *weighting.component(key, column), components))
            case "dydx":
                terms.append(PartialTerm(key, *weighting.partial(key, column)))
            case _:
                weights = weighting.directional(key, column, rows.directions)
                terms.append(DirectionalTerm(key, *weights, tuple(rows.directions)))
    return terms
