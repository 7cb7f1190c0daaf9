"""Random points and directions inside a model's domain, and the points along a direction."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gradwire._errors import UsageError
from gradwire._package import Box

Floats = NDArray[np.float64]
Arrays = Mapping[str, NDArray[Any]]
Run = Callable[[dict[str, NDArray[Any]]], Mapping[str, NDArray[Any]]]

LEAST_NUMBERS: Final = 256  # in a box: steps of ``LEAST_HALVINGS`` lengths fit on their grid
LEAST_HALVINGS: Final = 3  # fewer steps give no estimate of truncation
_EIGHTHS: Final = 8  # three bits of a direction: enough to tell components apart
_MARGIN: Final = 1 / 64  # of the width: so far from the border, so that a step fits on either side
_FAR_MARGIN: Final = 1 / 8  # of the width, where steps cannot be short
_HALVED: Final = 0.75  # shorter components of a direction become a half, the others one


def sample_points(box: Box, count: int, dtype: np.dtype[Any], rng: np.random.Generator) -> NDArray[Any]:
    """Draw points ``(count, *row)``, uniform in a box, a little away from its border; integers with both ends.

    Floating points lie on a grid of powers of two, so that x + hv is exact for the directions of
    ``sample_directions`` and h a power of two: no difference then suffers from rounding of x. Where the box is far
    from zero for its width, the dtype's own grid is coarser: points lie on that, and further from the border, so that
    steps have room that the dtype still resolves.
    """
    lower, upper = box
    if dtype.kind in "biu":
        first = np.minimum(np.ceil(lower), np.floor(upper)).astype(np.int64)
        last = np.floor(upper).astype(np.int64)
        return rng.integers(first, last + 1, (count, *lower.shape)).astype(dtype)
    margin = _margin(box, dtype)
    return _on_grid(rng.uniform(lower + margin, upper - margin, (count, *lower.shape)), box, dtype)


def nearest_points(rows: NDArray[Any], box: Box, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return the points nearest to rows ``(count, *row)`` of a box that ``sample_points`` could have drawn."""
    if dtype.kind in "biu":
        return rows.astype(dtype)
    margin = _margin(box, dtype)
    return _on_grid(np.clip(rows, box.lower + margin, box.upper - margin), box, dtype)


def _margin(box: Box, dtype: np.dtype[Any]) -> Floats:
    return np.where(_far(box, dtype), _FAR_MARGIN, _MARGIN) * (box.upper - box.lower)


def _on_grid(points: Floats, box: Box, dtype: np.dtype[Any]) -> NDArray[Any]:
    grain = np.maximum(_fine(box, dtype), np.where(_far(box, dtype), _resolution(box, dtype), 0))
    return np.where(grain > 0, np.rint(points / np.where(grain > 0, grain, 1)) * grain, box.lower).astype(dtype)


def sample_directions(
    box: Box,
    count: int,
    rng: np.random.Generator,
    dtype: np.dtype[Any] = np.dtype(np.float64),  # noqa: B008 - a constant
) -> Floats:
    """Draw directions about as long as the box is wide, ``(count, *row)``, in whole eighths of a power of two.

    Where the box is far from zero for points of ``dtype``, they are whole halves: a step can then be two bits shorter.
    """
    eighths = signed_eighths((count, *box[0].shape), rng)
    halves = np.sign(eighths) * np.where(np.abs(eighths) > _HALVED, 1.0, 0.5)
    return _unit(box) * np.where(_far(box, dtype), halves, eighths)


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


def finest_step(v: Mapping[str, Floats], boxes: Mapping[str, Box], x: Arrays) -> float:
    """Return the shortest step, a power of two, at which x + tv is exact for the points and directions drawn here."""
    steps = [0.0]
    for name in v:
        box, dtype = boxes[name], x[name].dtype
        moves = _unit(box) > 0
        bits = np.where(_far(box, dtype), 2, _EIGHTHS)  # of a direction: halves or eighths
        steps.append((bits * _resolution(box, dtype) / np.where(moves, _unit(box), 1))[moves].max(initial=0.0))
    return float(max(steps))


def resolved_halvings(v: Mapping[str, Floats], boxes: Mapping[str, Box], x: Arrays, longest: Floats) -> int | None:
    """Return how often the longest steps along v, powers of two, can be halved until x + tv is not exact any more.

    None where no box is far from zero for the dtype of its points: there all steps that are taken are exact.
    """
    if not any(_far(boxes[name], x[name].dtype).any() for name in v):
        return None
    return max(math.floor(math.log2(float(longest.min(initial=1.0)) / finest_step(v, boxes, x))), LEAST_HALVINGS)


def require_resolved(name: str, box: Box, dtype: np.dtype[Any]) -> None:
    """Raise if a dtype has too few numbers in the box of an input to tell steps from one another.

    Raises:
        UsageError: it has.
    """
    far = _far(box, dtype)
    if not far.any():
        return
    numbers = np.where(far, (box[1] - box[0]) / _resolution(box, dtype), np.inf)
    if numbers.min() >= LEAST_NUMBERS:
        return
    worst = np.unravel_index(int(numbers.argmin()), numbers.shape)
    raise UsageError(
        f"domain of {name!r} is {box[0][worst]:.9g} to {box[1][worst]:.9g}, where {dtype} has {int(numbers.min())} "
        f"numbers, expected {LEAST_NUMBERS} or more to check derivatives on: export the model in float64, or subtract a "
        "constant from that input first"
    )


def _fine(box: Box, dtype: np.dtype[Any]) -> Floats:
    """The grid of points where the box is near zero: half of the dtype's bits of its width."""
    return _unit(box) * 2.0 ** -math.ceil(-math.log2(np.finfo(dtype).eps) / 2)


def _resolution(box: Box, dtype: np.dtype[Any]) -> Floats:
    """The distance of neighbouring numbers of a dtype at the end of the box that is further from zero."""
    return np.spacing(np.maximum(np.abs(box[0]), np.abs(box[1])).astype(dtype)).astype(np.float64)


def _far(box: Box, dtype: np.dtype[Any]) -> NDArray[np.bool_]:
    """Whether the dtype's own grid is coarser than that of ``_fine``, element by element."""
    if dtype.kind != "f":
        return np.zeros(box[0].shape, bool)
    return (_unit(box) > 0) & (_resolution(box, dtype) > _fine(box, dtype))


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
