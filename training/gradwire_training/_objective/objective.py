"""A model, samples and a loss, tied into one number to be made small."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, final

import numpy as np
import tensorflow as tf

from gradwire._errors import UsageError
from gradwire_export import row_derivatives
from gradwire_training._models import units_of
from gradwire_training._objective.batches import Batches, FromStream, InMemory
from gradwire_training._objective.labels import mean_over
from gradwire_training._objective.tensors import Data, row_shape
from gradwire_training._objective.terms import Rows
from gradwire_training._objective.weighting import Term, terms

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import keras
    from numpy.typing import NDArray

    from gradwire_training._data import Samples, Stream, Table
    from gradwire_training._models import IoBinding
    from gradwire_training._objective.labels import Labels
    from gradwire_training._objective.losses import Loss

Weights: TypeAlias = "list[NDArray[Any]]"


@final
class Objective:
    """Loss and metric of a model, with their gradient; the model's variables are the state.

    Args:
        model: in the precision in which it is to be trained.
        ports: how its names and the samples' match.
        samples: what is fitted.
        loss: how.
        dtype: the precision, ``"float32"`` or ``"float64"``.
        seed: of the order of mini-batches.
        stream: all rows, where ``samples`` are some of them.

    Attributes:
        model: as given.
        dtype: as given.
        ports: as given.
        terms: what the loss sums (see ``_balance.py``).
        data: every row, the pins last.
        pins: how many of the rows are pins.
        known: the values that are known, by output, whether the loss fits them or not.
        trainable: the variables that optimisers move, in Keras's order.

    Raises:
        DataError: the loss needs labels that are not there, or a derivative by an integer input.
        UsageError: the model has no trainable weight.
    """

    def __init__(
        self,
        model: keras.Model,
        ports: IoBinding,
        samples: Samples,
        loss: Loss,
        *,
        dtype: str,
        seed: int = 0,
        stream: Stream | None = None,
    ) -> None:
        loss.check(samples)
        self.model = model
        self.dtype = dtype
        self.trainable: list[Any] = list(model.trainable_variables)
        if not self.trainable:
            raise UsageError(f"the model {model.name!r} has no trainable weight: set trainable on some layer")
        self.ports = ports
        self._shapes = {port.name: port.shape for port in (*ports.inputs, *ports.outputs)}
        rows = Rows.of(samples, loss)
        self.terms = terms(rows, samples, loss, units_of(model, ports))
        self.known = rows.known
        self.data = Data.of(rows, self.terms, ports, dtype=dtype)
        self.pins = rows.pins
        self.loss, self._seed, self._stream = loss, seed, stream
        self._factors = [self._factor(term) for term in self.terms]

    @property
    def weight_count(self) -> int:
        """How many numbers are trained."""
        return sum(int(np.prod(variable.shape)) for variable in self.trainable)

    @property
    def label_count(self) -> int:
        """How many labels are fitted."""
        return sum(int(np.isfinite(term.labels).sum()) for term in self.terms)

    @property
    def x(self) -> Table:
        """The inputs of every row, as NumPy arrays ``(rows, *row shape)``."""
        return {name: column.numpy() for name, column in self.data.x.items()}

    @property
    def count(self) -> int:
        """Number of rows of samples: those before the pins."""
        return int(next(iter(self.data.x.values())).shape[0]) - self.pins

    def data_of(self, samples: Samples) -> Data:
        """Gives other samples of the same function, such as the next part of a file, with the pins behind them.

        Raises:
            DataError: their columns are others.
        """
        return Data.of(Rows.of(samples, self.loss), self.terms, self.ports, dtype=self.dtype)

    @property
    def rows(self) -> int:
        """Number of rows that are fitted: those in memory, or those of the stream."""
        return self.count if self._stream is None else self._stream.count

    def batches(self, size: int | None) -> Batches | None:
        """Gives mini-batches; None where every step takes all rows.

        Args:
            size: rows of a batch; None for all, or of a stream, for 1,024.

        Raises:
            UsageError: a batch of a stream is larger than what is held of it at a time.
        """
        if self._stream is not None:
            return FromStream(self, self._stream, size, self._seed)
        return None if size is None or size >= self.count else InMemory(self, size, self._seed)

    def loss_and_mae(self, batch: Data | None = None, counts: Any = None) -> tuple[Any, Any]:
        """Computes the loss, and the mean absolute error of every value that is known.

        Losses that the model's layers add, such as regularisers, are part of the loss, as in Keras.

        Args:
            batch: rows to compute it on; by default all of them.
            counts: of a mini-batch, for how many rows each row stands, ``(rows,)``: the loss is then that of all
                rows on average.

        Returns:
            Two scalars; the second is zero where no value is known.
        """
        data = self.data if batch is None else batch
        errors, values = self._errors(data)
        known = [(labels, values[name]) for name, labels in data.known.items()]
        loss = tf.add_n([_sum_of_squares(error, counts) for error in errors])
        for added in self.model.losses:
            loss += tf.cast(added, self.dtype)
        return loss, mean_over(tf.abs, known)

    def residuals(self) -> tuple[Any, Any]:
        """Computes the errors whose squares sum to the loss, but for what the model's layers add.

        Returns:
            One vector: term after term, and in a term row after row, those whose label is there; and the mean
            absolute error, as ``loss_and_mae`` has it.
        """
        errors, values = self._errors(self.data)
        known = [(labels, values[name]) for name, labels in self.data.known.items()]
        present = [
            tf.gather(tf.reshape(error, [-1]), np.flatnonzero(np.isfinite(term.labels)))
            for term, error in zip(self.terms, errors, strict=True)
        ]
        return tf.concat(present, 0), mean_over(tf.abs, known)

    def gradient(self, batch: Data | None = None, counts: Any = None) -> tuple[Any, Any, list[Any]]:
        """Computes loss, metric, and the loss's gradient by every trainable variable (see ``loss_and_mae``)."""
        sources = [variable.value for variable in self.trainable]
        with tf.GradientTape() as tape:
            loss, mae = self.loss_and_mae(batch, counts)
        return loss, mae, tape.gradient(loss, sources, unconnected_gradients=tf.UnconnectedGradients.ZERO)

    def snapshot(self) -> Weights:
        """Copies every weight, trainable or not."""
        return [np.array(weight) for weight in self.model.weights]

    def restore(self, weights: Iterable[NDArray[Any]]) -> None:
        """Puts a snapshot back."""
        for variable, weight in zip(self.model.weights, weights, strict=True):
            variable.assign(weight)

    def _errors(self, data: Data) -> tuple[list[Any], dict[str, Any]]:
        """Gives every term's errors in its units, and the model's values."""
        wanted: dict[str, dict[str, None]] = {}
        for term in self.terms:
            if term.wrt:
                wanted.setdefault(term.output, {}).update(dict.fromkeys(term.wrt))
        values, derivatives = row_derivatives(
            lambda x: self.ports.call(self.model, x, training=True),
            data.x,
            {output: list(by) for output, by in wanted.items()},
            self._shapes,
        )
        residuals = [
            self._residual(term, factor, labels, _answer(term, values, derivatives.get(term.output, {}), data, labels))
            for term, labels, factor in zip(self.terms, data.labels, self._factors, strict=True)
        ]
        return residuals, values

    def _residual(self, term: Term, factor: Any, labels: Labels, prediction: Any) -> Any:
        errors = labels.errors(prediction)
        if self.loss.residuals_are_errors:
            return factor * errors
        unit = factor / term.scale
        return term.scale * self.loss.residual(unit * errors, unit * labels.target)

    def _factor(self, term: Term) -> Any:
        factor = np.broadcast_to(term.factor, term.labels.shape[1:]).reshape(row_shape(term, self.ports))
        return tf.constant(factor, self.dtype)


def _answer(term: Term, values: Mapping[str, Any], derivatives: Mapping[str, Any], data: Data, labels: Labels) -> Any:
    """Gives what the model says where a term has labels."""
    if not term.wrt:
        return values[term.output]
    if not term.along:
        return derivatives[term.wrt[0]]
    moved = [
        tf.einsum("bof,bf->bo", _by_numbers(derivatives[name], part.shape[1]), part)
        for name, part in data.directions.items()
    ]
    return tf.reshape(tf.add_n(moved), tf.shape(labels.target))


def _sum_of_squares(error: Any, counts: Any) -> Any:
    squares = tf.square(error)
    if counts is None:
        return tf.reduce_sum(squares)
    return tf.reduce_sum(counts * tf.reduce_sum(tf.reshape(squares, [tf.shape(squares)[0], -1]), axis=1))


def _by_numbers(derivative: Any, numbers: int) -> Any:
    """Gives derivatives as ``(rows, output numbers, input numbers)``."""
    return tf.reshape(derivative, [tf.shape(derivative)[0], -1, numbers])
