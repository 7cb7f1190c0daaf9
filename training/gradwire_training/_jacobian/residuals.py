"""The residuals of a fit, and their Jacobian by the weights, for optimisers of least squares.

Residuals are what ``Objective.residuals`` gives: their squares sum to the loss. Networks of dense layers have their
Jacobian from one sweep in NumPy (``_graph.py``); other models take a reverse sweep a residual in TensorFlow. Both come
in the same order.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final, TypeAlias, final

import numpy as np
import tensorflow as tf

from gradwire_training._jacobian.dense_network import Columns, Signal
from gradwire_training._jacobian.read_graph import read_graph
from gradwire_training._jacobian.terms import Reading, Widths
from gradwire_training._objective import Compiled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from gradwire_training._jacobian.read_graph import Graph
    from gradwire_training._objective import Objective

Array: TypeAlias = "NDArray[np.float64]"
Block: TypeAlias = "tuple[Array, Array]"  # residuals, and their Jacobian (residuals, weights)

BLOCK_BYTES: Final = 64 * 2**20  # of a Jacobian: larger ones are made in blocks of rows, one after the other


class Residuals(ABC):
    """Residuals as a function of all weights in one vector.

    Attributes:
        count: how many residuals there are.
        weights: how many weights.
    """

    count: int
    weights: int

    @property
    def xla(self) -> bool:
        """Whether XLA compiles what TensorFlow computes of it, as far as known."""
        return True

    @abstractmethod
    def at(self, point: Array) -> tuple[Array, float]:
        """Computes the residuals, and the mean absolute error of the known values."""

    @abstractmethod
    def blocks(self, point: Array) -> Iterator[Block]:
        """Computes the residuals with their Jacobian, in one block or in several, each used up before the next."""


def residuals_of(objective: Objective) -> Residuals:
    """Chooses how an objective's residuals are computed.

    Args:
        objective: in float64; its model's layers add no loss.
    """
    graph = read_graph(objective.model, objective.trainable) if objective.loss.residuals_are_errors else None
    return Taped(objective) if graph is None else Swept(objective, graph)


@final
class Swept(Residuals):
    """Residuals of a network of dense layers, in NumPy.

    Args:
        objective: whose terms and rows are taken.
        graph: its model's.
        block_bytes: of the Jacobian of values and derivatives that is made at once.
    """

    def __init__(self, objective: Objective, graph: Graph, *, block_bytes: int = BLOCK_BYTES) -> None:
        widths = Widths.of(objective)
        self._graph = graph
        self._widths = widths
        self._readings = [Reading.of(term, widths) for term in objective.terms]
        self.weights = graph.weights
        self.count = sum(reading.count for reading in self._readings)
        self._rows = len(widths.known)
        numbers = widths.outputs * (1 + widths.inputs) * self.weights
        self._block_rows = min(self._rows, max(1, block_bytes // (8 * numbers)))
        self._ports = [(x, np.broadcast_to(tangents, (self._rows, *tangents.shape))) for x, tangents in widths.ports]
        self._last: tuple[Array, list[Signal]] | None = None
        self._values = np.empty((self._block_rows, widths.outputs, self.weights))
        self._slopes = np.empty((self._block_rows, widths.outputs, widths.inputs, self.weights))

    def at(self, point: Array) -> tuple[Array, float]:
        """See ``Residuals.at``."""
        every = slice(0, self._rows)
        signals = self._graph.forward(point, self._inputs(every))
        self._last = (point, signals) if self._block_rows == self._rows else None
        values, slopes = self._answers(signals)
        known = np.isfinite(self._widths.known)
        mae = float(np.abs(values - self._widths.known)[known].mean()) if known.any() else 0.0
        return self._errors(values, slopes, every), mae

    def blocks(self, point: Array) -> Iterator[Block]:
        """See ``Residuals.blocks``."""
        for first in range(0, self._rows, self._block_rows):
            rows = slice(first, min(first + self._block_rows, self._rows))
            signals = self._forward(point, rows)
            errors = self._errors(*self._answers(signals), rows)
            size = rows.stop - first
            columns = Columns(self._values[:size], self._slopes[:size])
            self._graph.backward(point, signals, columns)
            parts = [reading.columns(columns, rows) for reading in self._readings]
            yield errors, np.concatenate(parts)

    def _forward(self, point: Array, rows: slice) -> list[Signal]:
        """Takes the signals that ``at`` made for the very same array, once: a sweep back uses them up."""
        last, self._last = self._last, None
        if last is not None and last[0] is point:
            return last[1]
        return self._graph.forward(point, self._inputs(rows))

    def _inputs(self, rows: slice) -> list[Signal]:
        return [Signal(x[rows], tangents[rows]) for x, tangents in self._ports]

    def _answers(self, signals: list[Signal]) -> tuple[Array, Array]:
        """Gives values ``(rows, output numbers)`` and slopes ``(rows, output numbers, input numbers)``."""
        given = [signals[place] for place in self._graph.outputs]
        values = np.concatenate([signal.value for signal in given], axis=1)
        return values, np.concatenate([signal.tangents for signal in given], axis=2).transpose(0, 2, 1)

    def _errors(self, values: Array, slopes: Array, rows: slice) -> Array:
        return np.concatenate([reading.errors(values, slopes, rows) for reading in self._readings])


@final
class Taped(Residuals):
    """Residuals of any model, by TensorFlow.

    Args:
        objective: in float64.
    """

    def __init__(self, objective: Objective) -> None:
        self._objective = objective
        self._sources = [variable.value for variable in objective.trainable]
        self._sizes = [int(np.prod(source.shape)) for source in self._sources]
        self._value = Compiled(self._residuals)
        self._slope = Compiled(self._jacobian)
        self.weights = sum(self._sizes)
        self.count = sum(int(np.isfinite(term.labels).sum()) for term in objective.terms)

    @property
    def xla(self) -> bool:
        """See ``Residuals.xla``."""
        return self._value.xla and self._slope.xla

    def at(self, point: Array) -> tuple[Array, float]:
        """See ``Residuals.at``."""
        residuals, mae = self._value(tf.constant(point))
        return residuals.numpy(), float(mae)

    def blocks(self, point: Array) -> Iterator[Block]:
        """See ``Residuals.blocks``."""
        residuals, jacobian = self._slope(tf.constant(point))
        yield residuals.numpy(), jacobian.numpy()

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
