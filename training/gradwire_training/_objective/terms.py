"""The rows that a loss looks at: samples and pins, joined."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, final

import numpy as np

from gradwire._errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from gradwire_training._data import Derivatives, Samples, Table
    from gradwire_training._objective.losses import Loss


@final
@dataclass(frozen=True, slots=True)
class Rows:
    """The rows that a loss looks at: the samples, and after them the loss's pins.

    Attributes:
        x: inputs by name.
        known: outputs by name, as far as known: what the metric is taken over.
        fitted: outputs by name, those that the loss fits.
        slopes: derivatives by output and input that the loss fits; pairs without any label are left out.
        directions: directions by input, zero where none is given; empty where no ``tangents`` are fitted.
        tangents: derivatives along them by output that the loss fits; outputs without any label are left out.
        pins: how many of the rows, the last ones, are pins.
    """

    x: Table
    known: Table
    fitted: Table
    slopes: Derivatives
    directions: Table = field(default_factory=dict)
    tangents: Table = field(default_factory=dict)
    pins: int = 0

    @classmethod
    def of(cls, samples: Samples, loss: Loss) -> Rows:
        """Joins samples and pins.

        Raises:
            DataError: the pins' columns are not the samples'.
        """
        slopes = {
            output: {wrt: column for wrt, column in by.items() if np.isfinite(column).any()}
            for output, by in (samples.dydx if loss.derivative_weight != 0 else {}).items()
        }
        slopes = {output: by for output, by in slopes.items() if by}
        tangents = {
            name: column
            for name, column in samples.y_dot.items()
            if loss.derivative_weight != 0 and np.isfinite(column).any()
        }
        directions = {name: np.nan_to_num(column) for name, column in samples.x_dot.items() if tangents}
        if loss.pins is None:
            return cls(
                x=samples.x,
                known=samples.y,
                fitted=samples.y,
                slopes=slopes,
                directions=directions,
                tangents=tangents,
            )
        _check_pins("x", samples.x, loss.pins.x)
        _check_pins("y", samples.y, loss.pins.y)
        hidden = {name: np.full_like(column, np.nan) for name, column in samples.y.items()}
        return cls(
            x=_joined(samples.x, loss.pins.x),
            known=_joined(samples.y, loss.pins.y),
            fitted=_joined(hidden, loss.pins.y),
            slopes={output: {w: _padded(c, loss.pins.count) for w, c in by.items()} for output, by in slopes.items()},
            directions={name: _padded(c, loss.pins.count, 0.0) for name, c in directions.items()},
            tangents={name: _padded(c, loss.pins.count) for name, c in tangents.items()},
            pins=loss.pins.count,
        )


def _check_pins(role: str, samples: Table, pins: Table) -> None:
    ours, theirs = _row_shapes(samples), _row_shapes(pins)
    if ours != theirs:
        raise DataError(f"the pins have {role} {theirs}, the samples {ours}: give pins the samples' columns")


def _row_shapes(table: Mapping[str, NDArray[np.float64]]) -> dict[str, tuple[int, ...]]:
    return {name: column.shape[1:] for name, column in table.items()}


def _joined(first: Table, second: Table) -> Table:
    return {name: np.concatenate([column, second[name]]) for name, column in first.items()}


def _padded(column: NDArray[np.float64], rows: int, filler: float = np.nan) -> NDArray[np.float64]:
    return np.concatenate([column, np.full((rows, *column.shape[1:]), filler)])
