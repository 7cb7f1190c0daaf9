"""Random points and directions inside a model's domain, and the points along a direction."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gradwire._package import Box

Floats = NDArray[np.float64]
Arrays = Mapping[str, NDArray[Any]]
Run = Callable[[dict[str, NDArray[Any]]], Mapping[str, NDArray[Any]]]

_EIGHTHS: Final = 8  # three bits of a direction: enough to tell components apart
_MARGIN: Final = 1 / 64  # of the width: so far from the border, so that a step fits on either side


def sample_points(box: Box, count: int, dtype: np.dtype[Any], rng: np.random.Generator) -> NDArray[Any]:
    """Draw points ``(count, *row)``, uniform in a box, a little away from its border; integers with both ends.

    Floating points lie on a grid of powers of two, so that x + hv is exact for the directions of
    ``sample_directions`` and h a power of two: no difference then suffers from rounding of x. (Where the box is
    far from zero for its width, the dtype's own grid is coarser.)
    """
    lower, upper = box
    if dtype.kind in "biu":
        first = np.minimum(np.ceil(lower), np.floor(upper)).astype(np.int64)
        last = np.floor(upper).astype(np.int64)
        return rng.integers(first, last + 1, (count, *lower.shape)).astype(dtype)
    margin = _MARGIN * (upper - lower)
    drawn = rng.uniform(lower + margin, upper - margin, (count, *lower.shape))
    grain = _unit(box) * 2.0 ** -math.ceil(-math.log2(np.finfo(dtype).eps) / 2)
    return np.where(grain > 0, np.rint(drawn / np.where(grain > 0, grain, 1)) * grain, lower).astype(dtype)


def sample_directions(box: Box, count: int, rng: np.random.Generator) -> Floats:
    """Draw directions about as long as the box is wide, ``(count, *row)``, in whole eighths of a power of two."""
    return _unit(box) * signed_eighths((count, *box[0].shape), rng)


def signed_eighths(shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """Draw elements from ±4/8 to ±8/8: none is near zero, and products with powers of two are exact."""
    return rng.integers(_EIGHTHS // 2, _EIGHTHS + 1, shape) / _EIGHTHS * rng.choice([-1.0, 1.0], shape)


def _unit(box: Box) -> Floats:
    """The largest power of two in the box's width; 0 where it has none."""
    width = box[1] - box[0]
    return np.where(width > 0, 2.0 ** np.floor(np.log2(np.where(width > 0, width, 1))), 0.0)


def reach(points: NDArray[Any], directions: Floats, box: Box, longest: float) -> Floats:
    """Return how far each point can move both ways in the box, as a multiple of its direction, ``(count,)``."""
    lower, upper = box
    room = np.minimum(points - lower, upper - points).reshape(len(points), -1)
    length = np.abs(directions).reshape(len(points), -1)
    steps = np.divide(room, length, out=np.full_like(length, np.inf), where=length > 0)
    return np.minimum(longest, steps.min(axis=1))


def points_along(x: NDArray[Any], v: Floats, multiples: Floats, box: Box) -> NDArray[Any]:
    """Return the points x + tv, ``(points, multiples, *row)``, in the input's dtype and inside its box."""
    t = multiples.reshape(*multiples.shape, *(1 for _ in v.shape[1:]))
    return np.clip(x[:, None] + t * v[:, None], *box).astype(x.dtype)


def evaluate_along(run: Run, x: Arrays, v: Arrays, multiples: Floats, boxes: Mapping[str, Box]) -> dict[str, Floats]:
    """Evaluate a function at x + tv, all in one call: ``(points, multiples, elements)`` by output, in float64.

    Inputs without a direction stay.
    """
    rows = rows_along(x, v, multiples, boxes)
    return {name: np.asarray(array, np.float64).reshape(*multiples.shape, -1) for name, array in run(rows).items()}


def rows_along(x: Arrays, v: Arrays, multiples: Floats, boxes: Mapping[str, Box]) -> dict[str, NDArray[Any]]:
    """Return the rows x + tv, ``(points * multiples, *row)``, a point's side by side; inputs without a v stay."""
    each = multiples.shape[1]
    return {
        name: points_along(array, v[name], multiples, boxes[name]).reshape(-1, *array.shape[1:])
        if name in v
        else np.repeat(array, each, axis=0)
        for name, array in x.items()
    }
