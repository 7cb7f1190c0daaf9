"""Tangents and cotangents: the caller's arrays beside the points that they belong to, one or many at each.

See docs/client.md, "Tangents and cotangents". A tangent has the form of its input, a cotangent that of the value of its
output. With one axis more in front there are k of them at every point, and they travel as k·batch rows of one call; a
scalar is used everywhere; one that is left out is zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradwire._errors import InputNameError, ShapeError
from gradwire._model.cast import Casting, cast
from gradwire._model.points import Points, fits
from gradwire._package import TensorSpec


class DirectionSpec(NamedTuple):
    """The form that a tangent or a cotangent must have.

    Attributes:
        spec: of its tensor in the signature.
        owner: the input or the output that it belongs to.
        row: the shape of one row as it travels; None stands for any size.
        form: the same as the caller knows it.
    """

    spec: TensorSpec
    owner: str
    row: tuple[int | None, ...]
    form: tuple[int | None, ...]


def read_directions(
    provided: Mapping[str, Any], specs: Sequence[DirectionSpec], points: Points, casting: Casting
) -> tuple[Points, dict[str, NDArray[Any]]]:
    """Turn tangents or cotangents into rows, and repeat the points where there are many at each.

    Args:
        provided: by tensor name; at least one.
        specs: of every one that the signature takes.
        points: where.
        casting: what a cast may lose.

    Returns:
        The points, repeated k times along a new first axis where there are k at each, and a row of every direction for
        every row of them.

    Raises:
        InputNameError: none is provided, or the size of one that is left out is not known.
        DTypeError: an array cannot be cast to its spec's dtype.
        ShapeError: an array has neither the form of its owner nor one axis more in front, or two arrays differ in that
            axis.
    """
    arrays = {
        spec.spec.name: cast(provided.get(spec.spec.name, 0), spec.spec.dtype, spec.spec.name, casting)
        for spec in specs
    }
    counts = _counts(arrays, [spec for spec in specs if spec.spec.name in provided], points.batch)
    if len(set(counts.values())) > 1:
        raise ShapeError(
            f"different numbers of directions at a point: {counts}; expected the same for all, or one axis less"
        )
    if counts:
        points = points.repeated(next(iter(counts.values())))
    return points, {spec.spec.name: _rows(arrays[spec.spec.name], spec, points) for spec in specs}


def _counts(
    arrays: Mapping[str, NDArray[Any]], specs: Sequence[DirectionSpec], batch: tuple[int, ...]
) -> dict[str, int]:
    """Count the directions at each point, where they have an axis of their own."""
    counts: dict[str, int] = {}
    for spec in specs:
        name = spec.spec.name
        shape, expected = arrays[name].shape, (*batch, *spec.form)
        if fits(shape, expected) or (not shape and spec.spec.is_scalar):
            continue
        if not fits(shape[1:], expected):
            sizes = ", ".join("any" if size is None else str(size) for size in expected)
            raise ShapeError(
                f"{name!r} has shape {shape}, expected the form of {spec.owner!r}, ({sizes}), or one axis "
                "more in front for several at every point"
            )
        counts[name] = shape[0]
    return counts


def _rows(array: NDArray[Any], spec: DirectionSpec, points: Points) -> NDArray[Any]:
    """Return one row of the direction for each row of the points."""
    count = len(next(iter(points.rows.values())))
    if not array.ndim:
        return np.broadcast_to(array, (count, *_row(spec)))
    form = array.shape[array.ndim - len(spec.form) :]
    row = _row(spec) if spec.spec.is_scalar else form
    return np.broadcast_to(array, (*points.batch, *form)).reshape(count, *row)


def _row(spec: DirectionSpec) -> list[int]:
    """The shape of one row as it travels, where no array tells it."""
    sizes = [size for size in spec.row if size is not None]
    if len(sizes) < len(spec.row):
        raise InputNameError(f"{spec.spec.name!r} is missing, and its size is not known: give it, zeros if need be")
    return sizes
