r"""In which units errors count: a factor for every label, so that a loss is one sum of squares.

A loss is :math:`\sum_t \sum_i (w_{ti} (a_{ti} - b_{ti}))^2` over terms t (an output's values, or a pair's derivatives) and
labels i, with a the model's answer and b the label. The factors w hold the units, the weights and the numbers of labels.

Values count in the model's unit u of the output: the factor of its last scaling layer, 1 without one. Derivatives count,
balanced, in units of their own size: with the values' spread :math:`\sigma`,

.. math:: w \propto \frac{\sigma / u}{\sqrt{\mathrm{mean}\,(\partial y / \partial x_j)^2}},

which for a scaled model is Huge and Savine's :math:`\lambda_j` (arXiv 2005.02347, appendix 4), and for others the same up
to one factor for all labels of an output. Unbalanced, they count in the model's own units.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, final

import numpy as np

from gradwire_training._models import input_scales, output_scales

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from gradwire_training._data import Samples, Table
    from gradwire_training._models import Units
    from gradwire_training._objective.losses import Loss
    from gradwire_training._objective.terms import Rows

# Of an output's natural slope, its spread over the input's: derivatives below it are measured by it, for labels that
# are zero or rounding would else outweigh all others.
SMALLEST: Final = 1e-3


@final
@dataclass(frozen=True, slots=True)
class Term:
    """Labels of one kind, and what an error of each counts.

    Attributes:
        output: which output.
        wrt: by which inputs it is differentiated; empty for the values themselves.
        along: where the derivative is along a direction a row, its parts by input, ``(rows, *row shape)``; empty for
            values, and for a partial derivative, by its one ``wrt``.
        labels: ``(rows, *shape)``, NaN where nothing is known.
        factor: what errors are multiplied by before they are squared and summed; broadcasts with the labels.
        scale: the part of it that is no unit: the root of the term's weight over the number of labels.
    """

    output: str
    wrt: tuple[str, ...]
    labels: NDArray[np.float64]
    factor: NDArray[np.float64]
    scale: float
    along: Table = field(default_factory=dict)


def terms(rows: Rows, samples: Samples, loss: Loss, units: Units) -> list[Term]:
    """Gives every label its factor.

    Args:
        rows: the rows that the loss looks at, pins included.
        samples: those whose spreads are the units.
        loss: the weights, and whether it is balanced.
        units: the model's.

    Returns:
        A term for each output that is fitted, in the samples' order, then one for each partial derivative, then one
        for each output's derivative along the directions.
    """
    pairs = [(output, wrt, column) for output, by in rows.slopes.items() for wrt, column in by.items()]
    values = _count(rows.fitted.values())
    derivatives = _count(column for _, _, column in pairs) + _count(rows.tangents.values())
    value_weight, derivative_weight = loss.weights(values, derivatives)
    scale = math.sqrt(value_weight / max(values, 1))
    fitted = [
        Term(output, (), column, scale / units.outputs[output], scale)
        for output, column in rows.fitted.items()
        if np.isfinite(column).any()
    ]
    weight = math.sqrt(derivative_weight / max(derivatives, 1))
    unit, unit_along = (_balanced, _balanced_along) if loss.balanced else (_plain, _plain_along)
    partial = [
        Term(output, (wrt,), column, weight * unit(output, wrt, column, samples, units), weight)
        for output, wrt, column in pairs
    ]
    directional = [
        Term(
            output,
            tuple(rows.directions),
            column,
            weight * unit_along(output, column, rows.directions, samples, units),
            weight,
            rows.directions,
        )
        for output, column in rows.tangents.items()
    ]
    return fitted + partial + directional


def _count(columns: Iterable[NDArray[np.float64]]) -> int:
    return sum(int(np.isfinite(column).sum()) for column in columns)


def _balanced(
    output: str, wrt: str, column: NDArray[np.float64], samples: Samples, units: Units
) -> NDArray[np.float64]:
    spread = output_scales(samples)[output].spread.ravel()
    moved = input_scales(samples)[wrt].spread.ravel()
    size = _size(column.reshape(len(column), len(spread), len(moved)))
    floor = SMALLEST * spread[:, None] / moved
    unit = np.broadcast_to(units.outputs[output].ravel(), spread.shape)
    return ((spread / unit)[:, None] / np.maximum(size, floor)).reshape(column.shape[1:])


def _plain(output: str, wrt: str, column: NDArray[np.float64], samples: Samples, units: Units) -> NDArray[np.float64]:
    rows = (samples.y[output].shape[1:], samples.x[wrt].shape[1:])
    given, taken = (
        np.broadcast_to(unit, row).ravel()
        for unit, row in zip((units.outputs[output], units.inputs[wrt]), rows, strict=True)
    )
    return (taken / given[:, None]).reshape(column.shape[1:])


def _balanced_along(
    output: str, column: NDArray[np.float64], along: Table, samples: Samples, units: Units
) -> NDArray[np.float64]:
    spread = output_scales(samples)[output].spread
    scales = input_scales(samples)
    parts = [(part / scales[name].spread).reshape(len(part), -1) for name, part in along.items()]
    moved = _size(np.linalg.norm(np.concatenate(parts, axis=1), axis=1))
    return spread / units.outputs[output] / np.maximum(_size(column), SMALLEST * spread * moved)


def _plain_along(
    output: str, column: NDArray[np.float64], along: Table, samples: Samples, units: Units
) -> NDArray[np.float64]:
    return np.broadcast_to(1 / units.outputs[output], column.shape[1:])


def _size(column: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gives the root mean square of what is known, 0 where nothing is."""
    present = np.isfinite(column)
    squares = np.where(present, column, 0.0) ** 2
    return np.sqrt(squares.sum(axis=0) / np.maximum(present.sum(axis=0), 1))
