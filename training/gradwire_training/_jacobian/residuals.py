"""The residuals of a fit, and their Jacobian with respect to the weights, for optimisers of least squares.

Residuals are those of ``Objective.residuals``: their squares sum to the loss. Networks of dense layers have their
Jacobian from one sweep in NumPy (``dense_network.py``); other models take a reverse sweep a residual in TensorFlow.
Both come in the same order.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, final

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from typing_extensions import override

from gradwire._errors import UsageError
from gradwire_training._jacobian.dense_network import Graph, Jacobian, Signal
from gradwire_training._jacobian.read_graph import read_graph
from gradwire_training._models import Components
from gradwire_training._objective import Compiled, ComponentTerm, Layout, Objective, Term

Array: TypeAlias = "NDArray[np.float64]"
ResidualBlock: TypeAlias = "tuple[Array, Array]"  # residuals, and their Jacobian (residuals, weights)

# Of a Jacobian: larger ones are made in blocks of rows, one after the other, which stay in the cache. Of 49,152 labels
# and 129 weights, 64 MiB take 1.5 times as long.
BLOCK_BYTES: Final = 8 * 2**20


class Residuals(ABC):
    """Residuals as a function of all weights in one vector."""

    count: int  # of residuals
    weights: int  # how many there are
    terms: tuple[int, ...]  # how many of the residuals belong to each term of the loss, in their order

    @property
    def xla(self) -> bool:
        """Whether XLA compiles what TensorFlow computes of it, as far as known."""
        return True

    @abstractmethod
    def at(self, point: Array) -> tuple[Array, float]:
        """Compute the residuals, and the mean absolute error of the known values."""

    @abstractmethod
    def parts(self, point: Array) -> Iterator[list[ResidualBlock]]:
        """Compute the residuals of every term with their Jacobian, in one block of rows or in several.

        Each is used up before the next.
        """

    def blocks(self, point: Array) -> Iterator[ResidualBlock]:
        """Compute the residuals of all terms together with their Jacobian, like ``parts``."""
        for terms in self.parts(point):
            if len(terms) == 1:  # nothing to copy
                yield terms[0]
            else:
                errors, jacobians = zip(*terms, strict=True)
                yield np.concatenate(errors), np.concatenate(jacobians)


def residuals_of(objective: Objective) -> Residuals:
    """Choose how the residuals of an objective in float64 are computed; its model's layers must add no loss."""
    graph = _graph_of(objective)
    return Taped(objective) if graph is None else Swept(objective, graph)


def is_swept(objective: Objective) -> bool:
    """Return whether the Jacobian takes one sweep: by a tape it takes as long as so many gradients."""
    return _graph_of(objective) is not None


def _graph_of(objective: Objective) -> Graph | None:
    return read_graph(objective.model, objective.trainable) if objective.loss.residuals_are_errors else None


@final
@dataclass(frozen=True, slots=True)
class ResidualTerm:
    """One term's residuals, out of all predictions."""

    term: Term
    target: Array  # its labels, (rows, elements), zero where unknown
    present: NDArray[np.bool_]  # the same shape
    factor: Array  # (elements,), or (rows, elements) where rows have weights
    is_whole: bool  # whether every label is present

    def residuals(self, values: Array, derivatives: Array, layout: Layout, rows: slice) -> Array:
        """Return the residuals of some rows, those whose label is known (see ``Term.select``)."""
        predictions = self.term.select(values, derivatives, layout, rows)
        residuals = (predictions - self.target[rows]) * self._factor(rows)
        return residuals.ravel() if self.is_whole else residuals[self.present[rows]]

    def jacobian(self, jacobian: Jacobian, layout: Layout, rows: slice) -> Array:
        """Return the Jacobian of these residuals, ``(residuals, weights)``."""
        part = self.term.select(jacobian.values, jacobian.derivatives, layout, rows)
        present, factor = self.present[rows], self._factor(rows)
        if self.is_whole:
            return (part * factor[..., None]).reshape(-1, part.shape[-1])
        return part[present] * np.broadcast_to(factor, present.shape)[present][:, None]

    def _factor(self, rows: slice) -> Array:
        return self.factor if self.factor.ndim == 1 else self.factor[rows]


@final
class Swept(Residuals):
    """Residuals of a network of dense layers, in NumPy; ``block_bytes`` of the Jacobian are made at once."""

    def __init__(self, objective: Objective, graph: Graph, *, block_bytes: int = BLOCK_BYTES) -> None:
        binding = objective.binding
        x = {name: column.reshape(len(column), -1).astype(np.float64) for name, column in objective.x.items()}
        known = {name: _flat(column) for name, column in objective.known.items()}
        self._graph = graph
        labels = np.concatenate([known[tensor.name] for tensor in binding.outputs], axis=1)
        self._rows, outputs = labels.shape
        wrt = {name for term in objective.terms for name in term.wrt}
        inputs = {tensor.name: x[tensor.name].shape[1] for tensor in binding.inputs if tensor.name in wrt}
        places = _places(inputs)
        self._x = [x[tensor.name] for tensor in binding.inputs]
        components = _components(objective.terms)
        moved = sum(inputs.values()) if components is None else components.basis.shape[1]
        tangents = (
            _unit_tangents(places, {tensor.name: x[tensor.name].shape[1] for tensor in binding.inputs})
            if components is None
            else (components.basis[places[tensor.name]].T for tensor in binding.inputs)
        )
        self._tangents = [np.broadcast_to(each, (self._rows, *each.shape)) for each in tangents]
        directions = np.zeros((self._rows, moved))
        for name, column in objective.data.directions.items():
            directions[:, places[name]] = column.numpy()
        outputs_at = _places({tensor.name: known[tensor.name].shape[1] for tensor in binding.outputs})
        self._layout = Layout(
            outputs=outputs_at, inputs=places, directions=directions, along_components=components is not None
        )
        roots = None if objective.data.roots is None else objective.data.roots.numpy()
        # The mean absolute error is a weighted sum, where unknown values count nothing.
        is_known, weights = np.isfinite(labels), objective.row_weights
        counts = is_known * (1.0 if weights is None else weights[:, None])
        self._labels, self._shares = np.where(is_known, labels, 0.0), counts / max(counts.sum(), np.finfo(float).tiny)
        self._terms = [
            ResidualTerm(
                term,
                _flat(labels.target.numpy()),
                (present := _flat(labels.present.numpy())),
                term.factor.ravel() if roots is None else roots[:, None] * term.factor.ravel(),
                is_whole=bool(present.all()),
            )
            for term, labels in zip(objective.terms, objective.data.labels, strict=True)
        ]
        self.weights = graph.weights
        self.terms = _label_counts(objective)
        self.count = sum(self.terms)
        shape = (outputs, moved, self.weights)
        self._block_rows = min(self._rows, max(1, block_bytes // (8 * outputs * (1 + shape[1]) * self.weights)))
        self._jacobian = Jacobian(
            np.empty((self._block_rows, outputs, self.weights)), np.empty((self._block_rows, *shape))
        )
        self._last: tuple[Array, list[Signal]] | None = None

    @override
    def at(self, point: Array) -> tuple[Array, float]:
        every = slice(0, self._rows)
        signals = self._graph.forward(point, self._inputs(every))
        self._last = (point, signals) if self._block_rows == self._rows else None
        values, derivatives = self._predictions(signals)
        mae = float(np.vdot(np.abs(values - self._labels), self._shares))
        return np.concatenate(self._residuals(values, derivatives, every)), mae

    @override
    def parts(self, point: Array) -> Iterator[list[ResidualBlock]]:
        for first in range(0, self._rows, self._block_rows):
            rows = slice(first, min(first + self._block_rows, self._rows))
            signals = self._forward(point, rows)
            residuals = self._residuals(*self._predictions(signals), rows)
            size = rows.stop - first
            jacobian = Jacobian(self._jacobian.values[:size], self._jacobian.derivatives[:size])
            self._graph.backward(point, signals, jacobian)
            yield [
                (errors, term.jacobian(jacobian, self._layout, rows))
                for errors, term in zip(residuals, self._terms, strict=True)
            ]

    def _forward(self, point: Array, rows: slice) -> list[Signal]:
        """Return the signals that ``at`` made for the very same array, once: a sweep back uses them up."""
        last, self._last = self._last, None
        if last is not None and last[0] is point:
            return last[1]
        return self._graph.forward(point, self._inputs(rows))

    def _inputs(self, rows: slice) -> list[Signal]:
        return [Signal(x[rows], tangents[rows]) for x, tangents in zip(self._x, self._tangents, strict=True)]

    def _predictions(self, signals: list[Signal]) -> tuple[Array, Array]:
        """Return values ``(rows, output elements)`` and derivatives ``(rows, output elements, input elements)``."""
        outputs = [signals[place] for place in self._graph.outputs]
        values = np.concatenate([signal.value for signal in outputs], axis=1)
        return values, np.concatenate([signal.tangents for signal in outputs], axis=2).transpose(0, 2, 1)

    def _residuals(self, values: Array, derivatives: Array, rows: slice) -> list[Array]:
        return [term.residuals(values, derivatives, self._layout, rows) for term in self._terms]


@final
class Taped(Residuals):
    """Residuals of any model, by TensorFlow."""

    def __init__(self, objective: Objective) -> None:
        self._objective = objective
        self._sources = [variable.value for variable in objective.trainable]
        self._sizes = [int(np.prod(source.shape)) for source in self._sources]
        self._value = Compiled(self._residuals, xla=objective.suits_xla)
        self._value_and_jacobian = Compiled(self._jacobian, xla=objective.suits_xla)
        self.weights = sum(self._sizes)
        self.terms = _label_counts(objective)
        self.count = sum(self.terms)

    @property
    @override
    def xla(self) -> bool:
        return self._value.xla and self._value_and_jacobian.xla

    @override
    def at(self, point: Array) -> tuple[Array, float]:
        residuals, mae = self._value(tf.constant(point))
        return residuals.numpy(), float(mae)

    @override
    def parts(self, point: Array) -> Iterator[list[ResidualBlock]]:
        try:
            residuals, jacobian = self._value_and_jacobian(tf.constant(point))
        except tf.errors.ResourceExhaustedError:
            raise UsageError(
                f"this model's Jacobian of {self.count:,} labels with respect to {self.weights:,} weights, which TensorFlow's "
                "tape makes whole, needs more memory than there is: use adam or lbfgs, or fewer rows"
            ) from None
        ends = np.cumsum(self.terms)[:-1]
        yield list(zip(np.split(residuals.numpy(), ends), np.split(jacobian.numpy(), ends), strict=True))

    def _residuals(self, point: Any) -> Any:
        self._move(point)
        return self._objective.residuals()

    def _jacobian(self, point: Any) -> Any:
        self._move(point)
        with tf.GradientTape() as tape:
            residuals, _ = self._objective.residuals()
        parts = tape.jacobian(residuals, self._sources, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        flat = [tf.reshape(part, [self.count, size]) for part, size in zip(parts, self._sizes, strict=True)]
        return residuals, tf.concat(flat, 1)

    def _move(self, point: Any) -> None:
        for source, part in zip(self._sources, tf.split(point, self._sizes), strict=True):
            source.assign(tf.reshape(part, source.shape))


def _label_counts(objective: Objective) -> tuple[int, ...]:
    return tuple(int(labels.count) for labels in objective.data.labels)


def _components(terms: Sequence[Term]) -> Components | None:
    """Return the components that every derivative among the terms is taken along; else None."""
    derivatives = [term for term in terms if term.wrt]
    along = [term.components for term in derivatives if isinstance(term, ComponentTerm)]
    return along[0] if along and len(along) == len(derivatives) else None


def _flat(column: NDArray[Any]) -> NDArray[Any]:
    return column.reshape(len(column), -1)


def _places(widths: Mapping[str, int]) -> dict[str, slice]:
    """Return the place of each name among the elements of all, one behind the other."""
    ends = np.cumsum(list(widths.values())).tolist()
    return {name: slice(end - width, end) for (name, width), end in zip(widths.items(), ends, strict=True)}


def _unit_tangents(places: Mapping[str, slice], widths: Mapping[str, int]) -> Iterator[Array]:
    """Yield the tangents of every input, ``(input elements, width)``: each of its elements moves alone."""
    elements = max((place.stop for place in places.values()), default=0)
    for name, width in widths.items():
        tangents = np.zeros((elements, width))
        if name in places:
            tangents[places[name]] = np.eye(width)
        yield tangents
