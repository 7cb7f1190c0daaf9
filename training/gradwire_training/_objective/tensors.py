"""The rows that a loss looks at, as tensors; a mini-batch is some of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np
import tensorflow as tf

from gradwire._errors import DataError
from gradwire._package import derivative_shape
from gradwire_training._objective.labels import Labels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from gradwire_training._models import IoBinding
    from gradwire_training._objective.terms import Rows
    from gradwire_training._objective.weighting import Term


@final
@dataclass(frozen=True, slots=True)
class Data:
    """Rows of inputs and of labels; row i of every tensor belongs to row i of the others.

    Attributes:
        x: inputs by name, in the model's precision or its integers.
        directions: directions by input, ``(rows, numbers)``, zero where nothing moves; empty where no derivative
            along them is fitted.
        known: outputs by name, as far as known: what the metric is taken over.
        labels: of every term of the loss.
    """

    x: dict[str, Any]
    directions: dict[str, Any]
    known: dict[str, Labels]
    labels: list[Labels]

    @classmethod
    def of(cls, rows: Rows, terms: Sequence[Term], ports: IoBinding, *, dtype: str) -> Data:
        """Makes tensors of rows.

        Args:
            rows: with every column that the model takes; labels that a term lacks here are missing ones.
            terms: of the loss.
            ports: how names and shapes of model and samples match.
            dtype: of floats.

        Raises:
            DataError: a term needs the derivative by an integer input.
        """
        shapes = {port.name: port.shape for port in ports.outputs}
        return cls(
            x={
                port.name: tf.constant(
                    rows.x[port.name].reshape(-1, *port.shape), dtype if port.is_floating else port.dtype
                )
                for port in ports.inputs
            },
            directions={
                name: tf.constant(column.reshape(len(column), -1), dtype) for name, column in rows.directions.items()
            },
            known={name: _labels(column, shapes[name], dtype) for name, column in rows.known.items()},
            labels=[_labels(_column(rows, term), row_shape(term, ports), dtype) for term in terms],
        )

    def take(self, rows: Any) -> Data:
        """Gives some of the rows.

        Args:
            rows: integer tensor of row numbers.
        """
        return Data(
            x={name: tf.gather(column, rows) for name, column in self.x.items()},
            directions={name: tf.gather(column, rows) for name, column in self.directions.items()},
            known={name: labels.take(rows) for name, labels in self.known.items()},
            labels=[labels.take(rows) for labels in self.labels],
        )

    def buffers(self, capacity: int) -> Data:
        """Makes variables of these dtypes and row shapes, for up to a number of rows that change now and then."""

        def buffer(column: Any) -> Any:
            return tf.Variable(tf.zeros((capacity, *column.shape[1:]), column.dtype), trainable=False)

        return Data(
            x={name: buffer(column) for name, column in self.x.items()},
            directions={name: buffer(column) for name, column in self.directions.items()},
            known={name: labels.over(buffer) for name, labels in self.known.items()},
            labels=[labels.over(buffer) for labels in self.labels],
        )

    def fill(self, rows: Data) -> None:
        """Puts other rows into buffers, from the first row on; what lies behind them stays."""
        for buffer, column in zip(self._tensors(), rows._tensors(), strict=True):
            buffer[: column.shape[0]].assign(column)

    def _tensors(self) -> list[Any]:
        labels = [*self.known.values(), *self.labels]
        return [
            *self.x.values(),
            *self.directions.values(),
            *(part for entry in labels for part in (entry.target, entry.present)),
        ]


def row_shape(term: Term, ports: IoBinding) -> tuple[int, ...]:
    """Gives the row shape of a term's labels, as the model gives its answers.

    Raises:
        DataError: it is the derivative by an integer input.
    """
    inputs = {port.name: port for port in ports.inputs}
    outputs = {port.name: port.shape for port in ports.outputs}
    for wrt in term.wrt:
        if not inputs[wrt].is_floating:
            raise DataError(f"dydx[{term.output!r}][{wrt!r}]: the model's {wrt!r} is an integer: leave it out of dydx")
    if not term.wrt or term.along:
        return outputs[term.output]
    return derivative_shape(outputs[term.output], inputs[term.wrt[0]].shape)


def _column(rows: Rows, term: Term) -> NDArray[np.float64]:
    """Finds a term's labels among the rows; they may be other rows than those that the term was made of."""
    if term.along:
        found = rows.tangents.get(term.output)
    elif term.wrt:
        found = rows.slopes.get(term.output, {}).get(term.wrt[0])
    else:
        found = rows.fitted[term.output]
    if found is None:
        found = np.full((len(next(iter(rows.x.values()))), *term.labels.shape[1:]), np.nan)
    return found


def _labels(column: NDArray[np.float64], shape: tuple[int, ...], dtype: str) -> Labels:
    return Labels.of(column.reshape(-1, *shape), dtype)
