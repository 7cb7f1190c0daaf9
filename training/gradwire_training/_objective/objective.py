"""A model, samples and a loss as one scalar to minimise."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from typing import Any, Final, TypeAlias, final

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from gradwire._errors import UsageError
from gradwire_export import needs_graph, row_derivatives
from gradwire_training._data import Samples, Stream, Table, known_counts, known_mean
from gradwire_training._models import (
    BatchStatistics,
    Feature,
    IoBinding,
    array_of,
    components_of,
    features_of,
    units_of,
)
from gradwire_training._objective.batches import Batches, FromStream, InMemory
from gradwire_training._objective.losses import Loss
from gradwire_training._objective.rows import FittedRows
from gradwire_training._objective.signs import SignLoss, bounds_of
from gradwire_training._objective.tensors import Data, Labels, mean_absolute_error
from gradwire_training._objective.terms import Term, terms_of

Weights: TypeAlias = "list[NDArray[Any]]"

PROBED_ROWS: Final = 8  # on which a model's features are seen
DRAWS: Final = 64  # calls whose statistics are averaged where dropout or noise makes each another


@final
class Objective:
    """Loss and metric of a model in the precision ``dtype``, with their gradient; its variables are the state.

    ``stream`` holds all rows, where ``samples`` are some of them; the seed is that of the order of mini-batches.

    A model may compute one function in training and another in inference, the one that is exported. An optimiser says
    which of the two it minimises: ``train`` or ``hold``, before its first step; ``settle`` ends the fit.
    """

    def __init__(
        self,
        model: keras.Model,
        binding: IoBinding,
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
        self.trainable: list[Any] = list(model.trainable_variables)  # what optimisers move
        if not self.trainable:
            raise UsageError(f"the model {model.name!r} has no trainable weight: set trainable on some layer")
        self.binding = binding
        self.loss, self._seed, self._stream = loss, seed, stream
        self._components = components_of(model, binding)
        rows = FittedRows.of(samples, loss).along(self._components)
        self.anchors = rows.anchors  # how many of the rows, the last ones, are the loss's pins
        units = units_of(model, binding)
        self.terms = terms_of(rows, samples, loss, units, self._components)
        self.data = Data.of(rows, self.terms, binding, dtype=dtype)
        self._shapes = {tensor.name: tensor.shape for tensor in (*binding.inputs, *binding.outputs)}
        self._wrt: dict[str, list[str]] = {}  # what the terms differentiate, and with respect to what
        for term in self.terms:
            for name in term.wrt:
                if name not in self._wrt.setdefault(term.output, []):
                    self._wrt[term.output].append(name)
        self._signs = (
            SignLoss(loss.signs, samples, binding, units, dtype=dtype, bounds=bounds_of(stream), seed=seed)
            if loss.signs
            else None
        )
        self.features = features_of(model, self._probe).with_signs(sign.text for sign in loss.signs)
        self.notes: list[str] = []  # what was done about them, a line each
        self._training = False
        self._statistics = BatchStatistics(model)
        for variable in self.trainable:
            if variable.constraint is not None:  # optimisers start where they may be
                variable.assign(variable.constraint(variable))
        self._factors = [tf.constant(term.factor.reshape(term.row_shape(binding)), dtype) for term in self.terms]

    @property
    def weight_count(self) -> int:
        """How many weights are trained."""
        return sum(int(np.prod(variable.shape)) for variable in self.trainable)

    @property
    def label_count(self) -> int:
        """How many labels are fitted."""
        return int(sum(labels.count for labels in self.data.labels))

    @property
    def x(self) -> Table:
        """The inputs of every row, as NumPy arrays ``(rows, *row shape)``."""
        return {name: column.numpy() for name, column in self.data.x.items()}

    @property
    def known(self) -> Table:
        """The known values of every row by output, NaN elsewhere, whether the loss fits them or not."""
        return {
            name: np.where(labels.present.numpy(), labels.target.numpy(), np.nan)
            for name, labels in self.data.known.items()
        }

    @property
    def row_weights(self) -> NDArray[np.float64] | None:
        """How much each row counts; None where all count the same."""
        return None if self.data.roots is None else self.data.roots.numpy().astype(np.float64) ** 2

    @property
    def count(self) -> int:
        """Number of rows of samples: those before the pins."""
        return int(next(iter(self.data.x.values())).shape[0]) - self.anchors

    @property
    def variation(self) -> float:
        """The loss of a model that predicts the mean of every label."""
        total, weights = 0.0, self.row_weights
        for term, labels in zip(self.terms, self.data.labels, strict=True):
            target = np.where(labels.present.numpy(), labels.target.numpy(), np.nan).reshape(-1, term.factor.size)
            squares = (term.factor.ravel() * (target - known_mean(target, weights))) ** 2
            total += float(np.sum(known_counts(target, weights) * np.nan_to_num(squares)))
        return total

    def take(self, rows: NDArray[np.int64], *, anchors: bool) -> Objective:
        """Return the objective of some rows, with or without the anchors; factors and variables are this one's.

        Losses of parts add up to that of the whole, but for what signs and the model's layers add.
        """
        part = copy.copy(self)
        part.anchors = self.anchors if anchors else 0
        part.data = self.data.take(np.concatenate([rows, self.count + np.arange(part.anchors)]))
        return part

    def with_settable_weights(self) -> tuple[Objective, Any]:
        """Return the objective of the same rows and variables, and a variable of the roots of the rows' weights."""
        part = copy.copy(self)
        rows = self.count + self.anchors
        roots = tf.Variable(tf.ones(rows, self.dtype) if self.data.roots is None else self.data.roots, trainable=False)
        part.data = replace(self.data, roots=roots)
        return part, roots

    def data_of(self, samples: Samples) -> Data:
        """Return other samples of the same function, such as the next part of a file, with the pins behind them."""
        rows = FittedRows.of(samples, self.loss).along(self._components)
        return Data.of(rows, self.terms, self.binding, dtype=self.dtype)

    @property
    def rows(self) -> int:
        """Number of rows that are fitted: those in memory, or those of the stream."""
        return self.count if self._stream is None else self._stream.count

    def batches(self, size: int | None) -> Batches | None:
        """Return mini-batches, None where every step takes all rows; a size of None is all, or 1,024 of a stream."""
        if self._stream is not None:
            return FromStream(self._stream, self.data_of, self.data, size, anchors=self.anchors, seed=self._seed)
        if size is None or size >= self.count:
            return None
        return InMemory(self.data, size, anchors=self.anchors, seed=self._seed)

    def train(self, *, resumed: bool) -> None:
        """Minimise in training form: random numbers are drawn, and statistics are those of each batch.

        Where derivatives are fitted, statistics are held all the same: those of a batch depend on every row, so that
        no derivative in training form is one of the exported function.
        """
        self._training = True
        if Feature.STATISTICS in self.features and self._wrt:
            self._hold_statistics(resumed=resumed)

    def hold(self, *, resumed: bool) -> None:
        """Minimise in inference form, as it is exported: statistics are those of the rows at the weights of now."""
        self._training = False
        if Feature.STATISTICS in self.features:
            self._hold_statistics(resumed=resumed)

    def settle(self) -> None:
        """Leave the model in inference form; statistics that were not held are those of the rows at these weights."""
        if Feature.STATISTICS in self.features and not self._statistics.held:
            self._take_statistics()
            self._note_statistics("are those of the fitted rows at the final weights")
        self._statistics.release()
        self._training = False

    @property
    def has_two_forms(self) -> bool:
        """Whether the model computes one function in training and another in inference."""
        forms = (Feature.RANDOM, Feature.STATISTICS, Feature.STATE, Feature.TRAINING)
        return any(feature in self.features for feature in forms)

    def _hold_statistics(self, *, resumed: bool) -> None:
        if self._statistics.held:
            return
        if not resumed:  # else the checkpoint has restored them
            self._take_statistics()
        self._statistics.hold()
        self._note_statistics("are those of the fitted rows where the fit began to hold them; it saw what is exported")

    def _take_statistics(self) -> None:
        draws = DRAWS if Feature.RANDOM in self.features else 1
        self._statistics.take(lambda: self.binding.call(self.model, self.data.x, training=True), draws=draws)

    def _note_statistics(self, what: str) -> None:
        self.notes.append(f"the statistics of BatchNormalization {self.features.names(Feature.STATISTICS)} {what}")

    @property
    def suits_xla(self) -> bool:
        """Whether XLA compiles the loss once: derivatives of a graph inside it are compiled anew in every step."""
        return not (self._wrt and self._has_own_graph)

    @cached_property
    def _has_own_graph(self) -> bool:
        """Whether the model's gradients are right in a graph of its own alone, as with layer normalisation.

        What layers add to the loss would not leave it.
        """
        if Feature.LOSSES in self.features:
            return False
        specs = {name: tf.TensorSpec([None, *column.shape[1:]], column.dtype) for name, column in self.data.x.items()}

        @tf.autograph.experimental.do_not_convert
        def call(x: Any) -> Any:
            return self.binding.call(self.model, x, training=False)

        return needs_graph(call, specs)

    def _probe(self, training: bool) -> dict[str, Any]:
        rows = range(min(PROBED_ROWS, self.count + self.anchors))
        x = {name: column[: len(rows)] for name, column in self.data.x.items()}
        return self.binding.call(self.model, x, training=training)

    def loss_and_mae(self, batch: Data | None = None, counts: Any = None) -> tuple[Any, Any]:
        """Compute the loss, with what signs and layers add, and the mean absolute error of the known values.

        With ``counts`` of a mini-batch, for how many rows each row stands, the loss is that of all rows on average.
        """
        data = self.data if batch is None else batch
        signs = (
            None if self._signs is None else self._signs(*self._call(self._signs.x, self._signs.wrt, training=False))
        )
        residuals, values = self._residuals(data)
        loss = tf.add_n([_sum_of_squares(part, counts) for part in residuals])
        if signs is not None:
            loss += signs
        if self._wrt and Feature.LOSSES in self.features:  # the last call saw rows repeated, once for each element
            self.binding.call(self.model, data.x, training=self._training)
        for added in self.model.losses:
            loss += tf.cast(added, self.dtype)
        return loss, mean_absolute_error(data, values)

    def sum_of_squares(self) -> Any:
        """Compute the sum of the residuals' squares: the loss, but for what signs and layers add."""
        return tf.add_n([_sum_of_squares(part, None) for part in self._residuals(self.data)[0]])

    def residuals(self) -> tuple[Any, Any]:
        """Compute the residuals whose squares sum to the loss, but for what signs and layers add, and the metric.

        They are one vector: term after term, and in a term row after row, those whose label is present.
        """
        residuals, values = self._residuals(self.data)
        present = [
            tf.gather(tf.reshape(part, [-1]), np.flatnonzero(labels.present.numpy()))
            for labels, part in zip(self.data.labels, residuals, strict=True)
        ]
        return tf.concat(present, 0), mean_absolute_error(self.data, values)

    def gradient(self, batch: Data | None = None, counts: Any = None) -> tuple[Any, Any, list[Any]]:
        """Compute loss and metric (see ``loss_and_mae``), and the loss's gradient with respect to ``trainable``."""
        sources = [variable.value for variable in self.trainable]
        with tf.GradientTape() as tape:
            loss, mae = self.loss_and_mae(batch, counts)
        return loss, mae, tape.gradient(loss, sources, unconnected_gradients=tf.UnconnectedGradients.ZERO)

    def snapshot(self) -> Weights:
        """Return a copy of every weight, trainable or not."""
        return [array_of(weight) for weight in self.model.weights]

    def restore(self, weights: Iterable[NDArray[Any]]) -> None:
        """Assign the weights of a snapshot."""
        for variable, weight in zip(self.model.weights, weights, strict=True):
            variable.assign(weight)

    def move_to(self, point: NDArray[np.float64]) -> None:
        """Assign the trained weights from one vector."""
        first = 0
        for variable in self.trainable:
            size = int(np.prod(variable.shape))
            variable.assign(point[first : first + size].reshape(variable.shape))
            first += size

    def _residuals(self, data: Data) -> tuple[list[Any], dict[str, Any]]:
        """Return every term's residuals, and the model's values."""
        values, derivatives = self._call(data.x, self._wrt, training=self._training)
        residuals = [
            data.weighted(self._residual(term, factor, labels, term.predict(values, derivatives, data.directions)))
            for term, labels, factor in zip(self.terms, data.labels, self._factors, strict=True)
        ]
        return residuals, values

    def _call(self, x: Any, wrt: dict[str, list[str]], *, training: bool) -> tuple[Any, Any]:
        """Return the model's values, and the derivatives that ``wrt`` names."""

        def call(x: Any) -> Any:
            return self.binding.call(self.model, x, training=training)

        own_graph = wrt and self._has_own_graph
        return row_derivatives(tf.function(call, autograph=False) if own_graph else call, x, wrt, self._shapes)

    def _residual(self, term: Term, factor: Any, labels: Labels, prediction: Any) -> Any:
        errors = labels.errors(prediction)
        if self.loss.residuals_are_errors:
            return factor * errors
        unit = factor / term.scale
        return term.scale * self.loss.residual(unit * errors, unit * labels.target)


def _sum_of_squares(residuals: Any, counts: Any) -> Any:
    squares = tf.square(residuals)
    if counts is None:
        return tf.reduce_sum(squares)
    return tf.reduce_sum(counts * tf.reduce_sum(tf.reshape(squares, [tf.shape(squares)[0], -1]), axis=1))
