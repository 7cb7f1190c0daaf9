"""Samples of one kind, behind one another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gradwire_training._data.samples import Samples

if TYPE_CHECKING:
    from collections.abc import Sequence


def joined(parts: Sequence[Samples]) -> Samples:
    """Puts rows of one kind behind one another; a derivative that only some have is missing in the others.

    Args:
        parts: samples with the same inputs and outputs; at least one.
    """
    shapes = {name: column.shape[1:] for part in parts for name, column in part.arrays()}
    columns: dict[str, dict[str, Any]] = {role: {} for role in ("x", "y", "dydx", "x_dot", "y_dot")}
    for label, shape in shapes.items():
        found = [dict(part.arrays()).get(label) for part in parts]
        column = np.concatenate(
            [
                np.full((part.count, *shape), np.nan) if array is None else array
                for part, array in zip(parts, found, strict=True)
            ]
        )
        match label.split(":"):
            case ["dydx", output, wrt]:
                columns["dydx"].setdefault(output, {})[wrt] = column
            case [role, *rest]:
                columns[role][rest[0]] = column
    first = parts[0]
    return Samples(
        columns["x"],
        columns["y"],
        columns["dydx"],
        x_dot=columns["x_dot"] or None,
        y_dot=columns["y_dot"] or None,
        units=first.units,
        provenance=first.provenance,
    )
