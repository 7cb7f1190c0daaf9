"""The rows that a loss looks at, as tensors; a mini-batch is some of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from gradwire_training._models import IoBinding
from gradwire_training._objective.rows import FittedRows
from gradwire_training._objective.terms import Term


@final
@dataclass(frozen=True, slots=True)
class Labels:
    """What a tensor should be, where that is known."""

    target: Any  # (rows, *shape), zero where it is not known
    present: Any  # bool, the same shape
    count: Any  # how many elements are known; a tensor in a mini-batch

    @classmethod
    def of(cls, column: NDArray[np.float64], shape: tuple[int, ...], dtype: str) -> Labels:
        """Build labels with rows of a shape from a column in which NaN means that an element is not known."""
        column = column.reshape(-1, *shape)
        present = np.isfinite(column)
        target = tf.constant(np.where(present, column, 0.0), dtype)
        return cls(target=target, present=tf.constant(present), count=int(present.sum()))

    def take(self, rows: Any) -> Labels:
        """Return the labels of some rows, by an integer tensor of row numbers."""
        present = tf.gather(self.present, rows)
        count = tf.reduce_sum(tf.cast(present, self.target.dtype))
        return Labels(target=tf.gather(self.target, rows), present=present, count=count)

    def map(self, function: Callable[[Any], Any]) -> Labels:
        """Return labels with a function applied to both tensors."""
        return Labels(target=function(self.target), present=function(self.present), count=self.count)

    def errors(self, output: Any) -> Any:
        """Return output - target, selected before anything else is done: a missing label has no gradient."""
        return tf.where(self.present, output - self.target, tf.zeros_like(self.target))


@final
@dataclass(frozen=True, slots=True)
class Data:
    """Rows of inputs and of labels; row i of every tensor belongs to row i of the others."""

    x: dict[str, Any]  # in the model's precision or its integers
    directions: dict[str, Any]  # by input, (rows, elements), zero where nothing moves; those that a term needs
    known: dict[str, Labels]  # by output: what the metric is taken over
    labels: list[Labels]  # of every term of the loss
    roots: Any = None  # (rows,), of the rows' weights; None where every row counts the same

    @classmethod
    def of(cls, rows: FittedRows, terms: Sequence[Term], binding: IoBinding, *, dtype: str) -> Data:
        """Build tensors of rows; labels of a term that they lack altogether are missing ones."""
        shapes = {tensor.name: tensor.shape for tensor in binding.outputs}
        directions = dict.fromkeys(name for term in terms for name in term.directions)
        return cls(
            x={
                tensor.name: tf.constant(
                    rows.x[tensor.name].reshape(-1, *tensor.shape), dtype if tensor.is_floating else tensor.dtype
                )
                for tensor in binding.inputs
            },
            directions={
                name: tf.constant(rows.directions[name].reshape(len(rows.directions[name]), -1), dtype)
                for name in directions
            },
            known={name: Labels.of(column, shapes[name], dtype) for name, column in rows.known.items()},
            labels=[Labels.of(_column(rows, term), term.row_shape(binding), dtype) for term in terms],
            roots=None if rows.weights is None else tf.constant(np.sqrt(rows.weights), dtype),
        )

    def take(self, rows: Any) -> Data:
        """Return some of the rows, by an integer tensor of row numbers."""
        return self._map(lambda column: tf.gather(column, rows), lambda labels: labels.take(rows))

    def buffers(self, capacity: int) -> Data:
        """Return variables of these dtypes and row shapes, for up to ``capacity`` rows that change now and then."""

        def buffer(column: Any) -> Any:
            return tf.Variable(tf.zeros((capacity, *column.shape[1:]), column.dtype), trainable=False)

        return self._map(buffer, lambda labels: labels.map(buffer))

    def fill(self, rows: Data) -> None:
        """Write other rows into buffers, from the first row on; what lies behind them stays."""
        for buffer, column in zip(self._tensors(), rows._tensors(), strict=True):
            buffer[: column.shape[0]].assign(column)

    def _map(self, function: Callable[[Any], Any], label_function: Callable[[Labels], Labels]) -> Data:
        return Data(
            x={name: function(column) for name, column in self.x.items()},
            directions={name: function(column) for name, column in self.directions.items()},
            known={name: label_function(labels) for name, labels in self.known.items()},
            labels=[label_function(labels) for labels in self.labels],
            roots=None if self.roots is None else function(self.roots),
        )

    def _tensors(self) -> list[Any]:
        labels = [*self.known.values(), *self.labels]
        parts = [part for entry in labels for part in (entry.target, entry.present)]
        roots = [] if self.roots is None else [self.roots]
        return [*self.x.values(), *self.directions.values(), *parts, *roots]

    def weighted(self, residuals: Any) -> Any:
        """Multiply residuals, ``(rows, ...)``, by the roots of the rows' weights."""
        return residuals if self.roots is None else residuals * _along_rows(self.roots, residuals)


def mean_absolute_error(data: Data, values: Mapping[str, Any]) -> Any:
    """Return the mean absolute error over every known element of all outputs together; zero where none is known."""
    errors = {name: tf.abs(labels.errors(values[name])) for name, labels in data.known.items()}
    if data.roots is None:
        total = tf.add_n([tf.reduce_sum(error) for error in errors.values()])
        count = tf.add_n([tf.cast(labels.count, total.dtype) for labels in data.known.values()])
        return total / tf.maximum(count, 1)
    weights = {name: tf.square(_along_rows(data.roots, error)) for name, error in errors.items()}
    total = tf.add_n([tf.reduce_sum(weights[name] * error) for name, error in errors.items()])
    present = {name: tf.cast(labels.present, total.dtype) for name, labels in data.known.items()}
    return tf.math.divide_no_nan(total, tf.add_n([tf.reduce_sum(weights[name] * present[name]) for name in errors]))


def _along_rows(column: Any, tensor: Any) -> Any:
    """Return a number a row, ``(rows,)``, so that it multiplies the rows of a tensor."""
    return tf.reshape(column, [-1, *(1 for _ in tensor.shape[1:])])


def _column(rows: FittedRows, term: Term) -> NDArray[np.float64]:
    """Return a term's labels among the rows, which may be others than those that the term was made of."""
    column = rows.labels.get(term.key)
    return np.full((len(next(iter(rows.x.values()))), *term.factor.shape), np.nan) if column is None else column
