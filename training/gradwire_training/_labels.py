"""Labels of which some may be missing, and means over those that are there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, final

import numpy as np
import tensorflow as tf

from gradwire._errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gradwire_training._losses import Loss
    from gradwire_training._samples import Derivatives, Samples, Table

Pair: TypeAlias = "tuple[Labels, Any]"  # labels, and the tensor that should be equal to them


@final
@dataclass(frozen=True, slots=True)
class Labels:
    """What a tensor should be, where that is known.

    Attributes:
        target: ``(rows, *shape)``, zero where it is not known.
        present: bool, the same shape.
        count: how many numbers are known.
    """

    target: Any
    present: Any
    count: int

    @classmethod
    def of(cls, column: NDArray[np.float64], dtype: str) -> Labels:
        """Reads a column in which NaN means that a number is not known."""
        present = np.isfinite(column)
        target = tf.constant(np.where(present, column, 0.0), dtype)
        return cls(target=target, present=tf.constant(present), count=int(present.sum()))

    def errors(self, output: Any) -> Any:
        """Gives output - target, selected before anything is done to it: a missing label has no gradient."""
        return tf.where(self.present, output - self.target, tf.zeros_like(self.target))


def mean_over(size: Callable[[Any], Any], pairs: list[Pair]) -> Any:
    """Averages the size of the errors over every label that is there, of all the pairs together.

    Args:
        size: what to average, such as ``tf.square``.
        pairs: labels and the tensors that should be equal to them; at least one pair.

    Returns:
        A scalar; zero where no label is there.
    """
    total = tf.add_n([tf.reduce_sum(size(labels.errors(output))) for labels, output in pairs])
    return total / max(sum(labels.count for labels, _ in pairs), 1)


@final
@dataclass(frozen=True, slots=True)
class Rows:
    """The rows that a loss looks at: the samples, and after them the loss's pins.

    Attributes:
        x: inputs by name.
        known: outputs by name, as far as known: what the metric is taken over.
        fitted: outputs by name, those that the loss fits.
        slopes: derivatives by output and input that the loss fits; pairs without any label are left out.
    """

    x: Table
    known: Table
    fitted: Table
    slopes: Derivatives

    @classmethod
    def of(cls, samples: Samples, loss: Loss) -> Rows:
        """Joins samples and pins.

        Raises:
            DataError: the pins' columns are not the samples'.
        """
        slopes = {
            output: {wrt: column for wrt, column in by.items() if np.isfinite(column).any()}
            for output, by in (samples.dydx if loss.derivative_weight else {}).items()
        }
        slopes = {output: by for output, by in slopes.items() if by}
        if loss.pins is None:
            return cls(x=samples.x, known=samples.y, fitted=samples.y, slopes=slopes)
        _check_pins("x", samples.x, loss.pins.x)
        _check_pins("y", samples.y, loss.pins.y)
        hidden = {name: np.full_like(column, np.nan) for name, column in samples.y.items()}
        return cls(
            x=_joined(samples.x, loss.pins.x),
            known=_joined(samples.y, loss.pins.y),
            fitted=_joined(hidden, loss.pins.y),
            slopes={
                output: {w: _padded(c, loss.pins.count) for w, c in by.items()}
                for output, by in slopes.items()
            },
        )


def _check_pins(role: str, samples: Table, pins: Table) -> None:
    ours, theirs = _row_shapes(samples), _row_shapes(pins)
    if ours != theirs:
        raise DataError(f"the pins have {role} {theirs}, the samples {ours}: give pins the samples' columns")


def _row_shapes(table: Mapping[str, NDArray[np.float64]]) -> dict[str, tuple[int, ...]]:
    return {name: column.shape[1:] for name, column in table.items()}


def _joined(first: Table, second: Table) -> Table:
    return {name: np.concatenate([column, second[name]]) for name, column in first.items()}


def _padded(column: NDArray[np.float64], rows: int) -> NDArray[np.float64]:
    return np.concatenate([column, np.full((rows, *column.shape[1:]), np.nan)])
