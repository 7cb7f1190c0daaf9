"""Tangents and cotangents: the caller's arrays beside the points that they belong to, one or many at each.

See docs/client.md, "Tangents and cotangents". A tangent has the form of its input, a cotangent that of the value of
its output. With one axis more in front there are k of them at every point, and they travel as k·batch rows of one
call; a single number is used everywhere; one that is left out is zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gradwire._errors import InputNameError, ShapeError
from gradwire._model.cast import cast
from gradwire._model.points import fits

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from gradwire._model.cast import Casting
    from gradwire._model.points import Points
    from gradwire._package import TensorSpec


class Seed(NamedTuple):
    """What a tangent or a cotangent must look like.

    Attributes:
        spec: of its tensor in the signature.
        of: the input or the output that it belongs to.
        row: the shape of one row of that, as it travels; None stands for any size.
        part: the same as the caller knows it.
    """

    spec: TensorSpec
    of: str
    row: tuple[int | None, ...]
    part: tuple[int | None, ...]


def read_seeds(
    given: Mapping[str, Any], seeds: Sequence[Seed], points: Points, casting: Casting
) -> tuple[Points, dict[str, NDArray[Any]]]:
    """Turns tangents or cotangents into rows, and repeats the points where there are many at each.

    Args:
        given: by tensor name; at least one.
        seeds: every one that the signature takes.
        points: where.
        casting: what a cast may lose.

    Returns:
        The points, repeated k times along a new first axis where there are k at each, and a row of every seed for
        every row of them.

    Raises:
        InputNameError: none is given.
        DTypeError: an array cannot be cast to its spec's dtype.
        ShapeError: an array has neither the form of what it belongs to nor one axis more in front, or two arrays
            differ in that axis.
    """
    names = [seed.spec.name for seed in seeds]
    if not given:
        raise InputNameError(f"no direction is given, expected at least one of {names}: those left out are zero")
    arrays = {
        name: cast(given.get(name, 0), seed.spec.dtype, name, casting) for name, seed in zip(names, seeds, strict=True)
    }
    many = _counts(arrays, [seed for seed in seeds if seed.spec.name in given], points.batch)
    if len(set(many.values())) > 1:
        raise ShapeError(
            f"different numbers of directions at a point: {many}; expected the same for all, or one axis less"
        )
    if many:
        points = points.repeated(next(iter(many.values())))
    return points, {name: _rows(arrays[name], seed, points) for name, seed in zip(names, seeds, strict=True)}


def _counts(arrays: Mapping[str, NDArray[Any]], seeds: Sequence[Seed], batch: tuple[int, ...]) -> dict[str, int]:
    """How many there are at each point, where that has an axis of its own."""
    counts: dict[str, int] = {}
    for seed in seeds:
        shape, expected = arrays[seed.spec.name].shape, (*batch, *seed.part)
        if fits(shape, expected) or (not shape and seed.spec.is_scalar):
            continue
        if not fits(shape[1:], expected):
            sizes = ", ".join("any" if size is None else str(size) for size in expected)
            raise ShapeError(
                f"{seed.spec.name!r} has shape {shape}, expected the form of {seed.of!r}, ({sizes}), or one axis "
                "more in front for several at every point"
            )
        counts[seed.spec.name] = shape[0]
    return counts


def _rows(array: NDArray[Any], seed: Seed, points: Points) -> NDArray[Any]:
    """The rows of a seed, one for each row of the points."""
    count = len(next(iter(points.rows.values())))
    if not array.ndim:
        return np.broadcast_to(array, (count, *_row(seed)))
    part = array.shape[array.ndim - len(seed.part) :]
    row = _row(seed) if seed.spec.is_scalar else part
    return np.broadcast_to(array, (*points.batch, *part)).reshape(count, *row)


def _row(seed: Seed) -> list[int]:
    """The shape of one row as it travels, where nothing was given that would say it."""
    sizes = [size for size in seed.row if size is not None]
    if len(sizes) < len(seed.row):
        raise InputNameError(f"{seed.spec.name!r} is missing, and its size is not known: give it, zeros if need be")
    return sizes
