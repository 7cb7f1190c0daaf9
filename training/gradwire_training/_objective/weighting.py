r"""The unit in which an error counts: a factor for every label, so that a loss is one sum of squares.

A loss is :math:`\sum_t \sum_i (w_{ti} (a_{ti} - b_{ti}))^2` over terms t (the values of an output, or its derivatives)
and labels i, with a the model's prediction and b the label. The factors w hold the units, the weights and the numbers
of labels.

Values count in the model's unit u of the output: the factor of its last scaling layer, 1 without one. Derivatives
count, balanced, in units of their own size: with the values' spread :math:`\sigma`,

.. math:: w \propto \frac{\sigma / u}{\sqrt{\mathrm{mean}\,(\partial y / \partial x_j)^2}},

which for a scaled model is Huge and Savine's :math:`\lambda_j` (arXiv 2005.02347, appendix 4), and for others the same
up to one factor for all labels of an output. Unbalanced, they count in the model's own units.
"""

from __future__ import annotations

import math
from typing import Final, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from gradwire_training._data import ColumnKey, Samples, Table, known_counts, known_mean
from gradwire_training._models import Units, input_scales, output_scales
from gradwire_training._objective.losses import Loss
from gradwire_training._objective.rows import FittedRows

Array: TypeAlias = "NDArray[np.float64]"
Weights: TypeAlias = "tuple[Array, float]"  # a term's factor, and its scale

# Of an output's natural derivative, its spread over the input's: derivatives below it are measured by it, as labels
# that are zero or rounding would otherwise outweigh all others.
SMALLEST: Final = 1e-3
# Of an output's spread over that of a principal component, likewise: the last components of many carry hardly more than
# rounding or noise. 1e-3 ended a fit of five, of which two carry all but 2e-6, at a constant.
MINOR: Final = 1e-2


@final
class Weighting:
    """The factors of a loss's terms: the labels of all rows are counted, the samples' spreads are the units."""

    def __init__(self, rows: FittedRows, samples: Samples, loss: Loss, units: Units) -> None:
        counts = [
            sum(
                float(known_counts(column, rows.weights).sum())
                for key, column in rows.labels.items()
                if (key.role == "y") == is_value
            )
            for is_value in (True, False)
        ]
        self._value_scale, self._derivative_scale = (
            math.sqrt(weight / (count or 1.0)) for weight, count in zip(loss.weights(*counts), counts, strict=True)
        )
        self._balanced = loss.balanced
        self._weights = rows.weights
        self._units = units
        self._samples = samples
        self._inputs, self._outputs = input_scales(samples), output_scales(samples)

    def value(self, output: str) -> Weights:
        """Return factor and scale of the values of an output."""
        scale = self._value_scale
        return np.broadcast_to(scale / self._units.outputs[output], self._shape(output)), scale

    def partial(self, key: ColumnKey, column: Array) -> Weights:
        """Return factor and scale of a partial derivative with these labels, ``(rows, *shape)``."""
        shape, input_shape = self._shape(key.output), self._samples.x[key.input].shape[1:]
        unit = np.broadcast_to(self._units.outputs[key.output], shape).ravel()
        if self._balanced:
            spread, moved = self._outputs[key.output].spread.ravel(), self._inputs[key.input].spread.ravel()
            size = self._size(column.reshape(len(column), len(spread), len(moved)))
            factor = (spread / unit)[:, None] / np.maximum(size, SMALLEST * spread[:, None] / moved)
        else:
            factor = np.broadcast_to(self._units.inputs[key.input], input_shape).ravel() / unit[:, None]
        return self._derivative_scale * factor.reshape(column.shape[1:]), self._derivative_scale

    def component(self, key: ColumnKey, column: Array) -> Weights:
        """Return factor and scale of the derivatives with respect to components, whose spread is 1, with these labels.

        They are ``(rows, output elements, components)``.
        """
        spread = self._outputs[key.output].spread.ravel()
        unit = np.broadcast_to(self._units.outputs[key.output], self._shape(key.output)).ravel()
        if self._balanced:
            factor = (spread / unit)[:, None] / np.maximum(self._size(column), MINOR * spread[:, None])
        else:
            factor = np.broadcast_to(1 / unit[:, None], column.shape[1:])
        return self._derivative_scale * factor, self._derivative_scale

    def directional(self, key: ColumnKey, column: Array, directions: Table) -> Weights:
        """Return factor and scale of the derivative along directions with these labels, ``(rows, *shape)``."""
        unit = self._units.outputs[key.output]
        if self._balanced:
            spread = self._outputs[key.output].spread
            parts = [(part / self._inputs[name].spread).reshape(len(part), -1) for name, part in directions.items()]
            moved = self._size(np.linalg.norm(np.concatenate(parts, axis=1), axis=1))
            factor = spread / unit / np.maximum(self._size(column), SMALLEST * spread * moved)
        else:
            factor = np.broadcast_to(1 / unit, column.shape[1:])
        return self._derivative_scale * factor, self._derivative_scale

    def _shape(self, output: str) -> tuple[int, ...]:
        return self._samples.y[output].shape[1:]

    def _size(self, column: Array) -> Array:
        """Return the root mean square of what is known, 0 where nothing is."""
        return np.sqrt(known_mean(column**2, self._weights))
