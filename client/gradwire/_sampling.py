"""Random points and directions inside a model's domain, for checks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gradwire._errors import InputNameError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

    from gradwire._card import Card, CardTensor

UNKNOWN_BOUND: Final = 1.0  # inputs are taken to lie in [-1, 1] where nothing says otherwise
UNKNOWN_INTEGER: Final = (0.0, 1.0)  # integers are counts and places in a table: -1 may be none
_COUNTING: Final = ("int", "uint", "bool")
_EIGHTHS: Final = 8  # three bits of a direction: enough to tell components apart
_MARGIN: Final = 1 / 64  # of the width: so far from the border, so that a step fits on either side

Box = tuple["NDArray[np.float64]", "NDArray[np.float64]"]


def boxes_of(card: Card, domain: Mapping[str, tuple[ArrayLike, ArrayLike]] | None) -> dict[str, Box]:
    """Gives the bounds of every input.

    Args:
        card: the package's card.
        domain: bounds by input name, each broadcast to the input's row shape; they replace the card's.

    Returns:
        ``(lower, upper)`` of the input's row shape, by name; where neither says [-1, 1], of integers [0, 1].

    Raises:
        InputNameError: ``domain`` names an unknown input.
        UsageError: bounds are not finite, have another shape, or enclose nothing.
    """
    given = dict(domain or {})
    names = [tensor.name for tensor in card.inputs]
    if set(given) - set(names):
        raise InputNameError(
            f"domain of {sorted(set(given) - set(names))}, expected inputs of the model: {names}"
        )
    return {tensor.name: _box(tensor, given.get(tensor.name)) for tensor in card.inputs}


def _box(tensor: CardTensor, given: tuple[ArrayLike, ArrayLike] | None) -> Box:
    unknown = UNKNOWN_INTEGER if tensor.dtype.startswith(_COUNTING) else (-UNKNOWN_BOUND, UNKNOWN_BOUND)
    if given is None and tensor.domain is not None:
        bounds = (tensor.domain.lower, tensor.domain.upper)
    else:
        bounds = given or unknown
    try:
        lower, upper = (
            np.broadcast_to(np.asarray(bound, np.float64), tensor.shape).copy() for bound in bounds
        )
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"domain of {tensor.name!r}: {error}; expected two numbers or arrays of {tensor.shape}"
        ) from error
    if given is None:  # a card says null for a bound that it does not know
        lower[~np.isfinite(lower)], upper[~np.isfinite(upper)] = unknown
    if not (
        np.isfinite(lower).all()
        and np.isfinite(upper).all()
        and (lower <= upper).all()
        and (lower < upper).any()
    ):
        raise UsageError(
            f"domain of {tensor.name!r} is {lower} to {upper}, expected finite bounds with room between them"
        )
    return lower, upper


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
        return rng.integers(
            first.astype(np.int64), np.floor(upper).astype(np.int64) + 1, (count, *lower.shape)
        ).astype(dtype)
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
    return (
        _unit(box)
        * rng.integers(_EIGHTHS // 2, _EIGHTHS + 1, shape)
        / _EIGHTHS
        * rng.choice([-1.0, 1.0], shape)
    )


def _unit(box: Box) -> NDArray[np.float64]:
    """The largest power of two in the box's width; 0 where it has none."""
    width = box[1] - box[0]
    return np.where(width > 0, 2.0 ** np.floor(np.log2(np.where(width > 0, width, 1))), 0.0)


def reach(
    points: NDArray[Any], directions: NDArray[np.float64], box: Box, longest: float
) -> NDArray[np.float64]:
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
