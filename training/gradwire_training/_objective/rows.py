"""The rows that a loss looks at: the samples, and after them the anchors that fix the constant."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import numpy as np
from numpy.typing import NDArray

from gradwire._errors import DataError
from gradwire_training._data import ColumnKey, Samples, Table
from gradwire_training._models import Components
from gradwire_training._objective.losses import Loss


@final
@dataclass(frozen=True, slots=True)
class FittedRows:
    """The rows that a loss looks at: the samples, and after them the loss's pins."""

    x: Table
    known: Table  # the outputs, NaN where unknown: what the metric is taken over
    labels: dict[ColumnKey, NDArray[np.float64]]  # what is fitted, else NaN; columns without any are left out
    directions: Table  # by input, zero where nothing moves; empty where there are none
    anchors: int = 0  # how many of the rows, the last ones, are pins
    weights: NDArray[np.float64] | None = None  # (rows,); None where every row counts the same

    @classmethod
    def of(cls, samples: Samples, loss: Loss) -> FittedRows:
        """Append the pins to the samples, and drop the labels that the loss does not fit."""
        columns = {
            key: column
            for key, column in samples.columns().items()
            if key.is_label and (key.role == "y" or loss.derivative_weight != 0) and np.isfinite(column).any()
        }
        directions = {name: np.nan_to_num(column) for name, column in samples.x_dot.items()}
        if (pins := loss.pins) is None:
            return cls(samples.x, samples.y, columns, directions, weights=samples.row_weights)
        for role, ours, theirs in (("x", samples.x, pins.x), ("y", samples.y, pins.y)):
            shapes = [{name: column.shape[1:] for name, column in table.items()} for table in (theirs, ours)]
            if shapes[0] != shapes[1]:
                raise DataError(
                    f"the pins have {role} {shapes[0]}, the samples {shapes[1]}: give pins the samples' columns"
                )
        values = {
            ColumnKey("y", name): np.concatenate([np.full_like(samples.y[name], np.nan), column])
            for name, column in pins.y.items()
            if np.isfinite(column).any()
        }
        derivatives = {key: _padded(column, pins.count) for key, column in columns.items() if key.role != "y"}
        return cls(
            x={name: np.concatenate([column, pins.x[name]]) for name, column in samples.x.items()},
            known={name: np.concatenate([column, pins.y[name]]) for name, column in samples.y.items()},
            labels=values | derivatives,
            directions={name: _padded(column, pins.count, 0.0) for name, column in directions.items()},
            anchors=pins.count,
            weights=_joined_weights(samples, pins),
        )

    def along(self, components: Components | None) -> FittedRows:
        """Return the same rows with derivatives with respect to a model's components in place of those by its inputs.

        What the components leave of a row's gradient no weight of the model changes. Derivatives stay as they are where
        others are missing that their components need.
        """
        if components is None:
            return self
        labels = {key: column for key, column in self.labels.items() if key.role != "dydx"}
        count, moved = len(next(iter(self.x.values()))), components.basis != 0
        for output in dict.fromkeys(key.output for key in self.labels if key.role == "dydx"):
            keys = {name: ColumnKey("dydx", output, name) for name in components.inputs}
            size = self.known[output][0].size
            gradient = np.full((count, size, len(moved)), np.nan)
            places: dict[str, slice] = {}
            for name in components.inputs:
                start = max((place.stop for place in places.values()), default=0)
                places[name] = slice(start, start + self.x[name][0].size)
                if keys[name] in self.labels:
                    gradient[..., places[name]] = self.labels[keys[name]].reshape(count, size, -1)
            missing = np.isnan(gradient) @ moved  # (rows, output elements, components)
            along = np.where(missing, np.nan, np.nan_to_num(gradient) @ components.basis)
            gradient = np.where(missing @ moved.T, gradient, np.nan)
            for name in components.inputs:
                if keys[name] in self.labels:
                    labels[keys[name]] = gradient[..., places[name]].reshape(self.labels[keys[name]].shape)
            labels[ColumnKey("dydx", output)] = along
        return replace(self, labels={key: column for key, column in labels.items() if np.isfinite(column).any()})


def _joined_weights(samples: Samples, pins: Samples) -> NDArray[np.float64] | None:
    if samples.row_weights is None and pins.row_weights is None:
        return None
    parts = ((part.row_weights, part.count) for part in (samples, pins))
    return np.concatenate([np.ones(count) if weights is None else weights for weights, count in parts])


def _padded(column: NDArray[np.float64], rows: int, filler: float = np.nan) -> NDArray[np.float64]:
    return np.concatenate([column, np.full((rows, *column.shape[1:]), filler)])
