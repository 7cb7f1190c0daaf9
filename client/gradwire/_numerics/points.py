"""Random points and directions inside a model's domain, for checks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gradwire._package import Box

_EIGHTHS: Final = 8  # three bits of a direction: enough to tell components apart
_MARGIN: Final = 1 / 64  # of the width: so far from the border, so that a step fits on either side


def sample_points(box: Box, count: int, dtype: np.dtype[Any], rng: np.random.Generator) -> NDArray[Any]:
    """Draws points, uniform in a box, a little away from its border.

    Floating points lie on a grid of powers of two, so that x + hv is exact for the directions of
    ``sample_directions`` and h a power of two: no difference then suffers from rounding of x. (Where the box is
    far from zero for its width, the dtype's own grid is coarser.)

    Args:
        box: bounds of a row.
        count: how many points.
        dtype: of the input; integers are drawn from those in the box, both ends included.
        rng: the source of randomness.

    Returns:
        ``(count, *row)``.
    """
    lower, upper = box
    if dtype.kind in "biu":
        first = np.minimum(np.ceil(lower), np.floor(upper))
        return rng.integers(first.astype(np.int64), np.floor(upper).astype(np.int64) + 1, (count, *lower.shape)).astype(
            dtype
        )
    margin = _MARGIN * (upper - lower)
    drawn = rng.uniform(lower + margin, upper - margin, (count, *lower.shape))
    grain = _unit(box) * 2.0 ** -math.ceil(-math.log2(np.finfo(dtype).eps) / 2)
    return np.where(grain > 0, np.rint(drawn / np.where(grain > 0, grain, 1)) * grain, lower).astype(dtype)


def sample_directions(box: Box, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draws directions about as long as the box is wide: every number moves by a quarter of its width to all of it.

    Args:
        box: bounds of a row.
        count: how many directions.
        rng: the source of randomness.

    Returns:
        ``(count, *row)``, whole eighths of a power of two.
    """
    shape = (count, *box[0].shape)
    return _unit(box) * rng.integers(_EIGHTHS // 2, _EIGHTHS + 1, shape) / _EIGHTHS * rng.choice([-1.0, 1.0], shape)


def _unit(box: Box) -> NDArray[np.float64]:
    """The largest power of two in the box's width; 0 where it has none."""
    width = box[1] - box[0]
    return np.where(width > 0, 2.0 ** np.floor(np.log2(np.where(width > 0, width, 1))), 0.0)


def reach(points: NDArray[Any], directions: NDArray[np.float64], box: Box, longest: float) -> NDArray[np.float64]:
    """Finds how far one may go from each point, both ways, and stay in the box.

    Args:
        points: ``(count, *row)``.
        directions: ``(count, *row)``.
        box: bounds of a row.
        longest: the most that is wanted, as a multiple of the direction.

    Returns:
        ``(count,)`` multiples of the direction.
    """
    lower, upper = box
    room = np.minimum(points - lower, upper - points).reshape(len(points), -1)
    length = np.abs(directions).reshape(len(points), -1)
    steps = np.divide(room, length, out=np.full_like(length, np.inf), where=length > 0)
    return np.minimum(longest, steps.min(axis=1))
