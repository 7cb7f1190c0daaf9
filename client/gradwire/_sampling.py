"""Random points and directions inside a model's domain, for checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gradwire._errors import InputNameError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

    from gradwire._card import Card, CardTensor

UNKNOWN_BOUND: Final = 1.0  # inputs are taken to lie in [-1, 1] where nothing says otherwise
_MARGIN: Final = 1 / 64  # of the width: so far from the border, so that a step fits on either side

Box = tuple["NDArray[np.float64]", "NDArray[np.float64]"]


def boxes_of(card: Card, domain: Mapping[str, tuple[ArrayLike, ArrayLike]] | None) -> dict[str, Box]:
    """Gives the bounds of every input.

    Args:
        card: the package's card.
        domain: bounds by input name, each broadcast to the input's row shape; they replace the card's.

    Returns:
        ``(lower, upper)`` of the input's row shape, by name; [-1, 1] where neither says.

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
    if given is None and tensor.domain is not None:
        bounds = (tensor.domain.lower, tensor.domain.upper)
    else:
        bounds = given or (-UNKNOWN_BOUND, UNKNOWN_BOUND)
    try:
        lower, upper = (
            np.broadcast_to(np.asarray(bound, np.float64), tensor.shape).copy() for bound in bounds
        )
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"domain of {tensor.name!r}: {error}; expected two numbers or arrays of {tensor.shape}"
        ) from error
    if given is None:  # a card says null for a bound that it does not know
        lower[~np.isfinite(lower)], upper[~np.isfinite(upper)] = -UNKNOWN_BOUND, UNKNOWN_BOUND
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

    Args:
        box: bounds of a row.
        count: how many points.
        dtype: of the input; integers are rounded.
        rng: the source of randomness.

    Returns:
        ``(count, *row)``.
    """
    lower, upper = box
    margin = _MARGIN * (upper - lower)
    drawn = rng.uniform(lower + margin, upper - margin, (count, *lower.shape))
    return (np.rint(drawn) if dtype.kind in "iu" else drawn).astype(dtype)


def sample_directions(box: Box, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draws directions about as long as the box is wide: every number moves by half its width or more.

    Args:
        box: bounds of a row.
        count: how many directions.
        rng: the source of randomness.

    Returns:
        ``(count, *row)``.
    """
    lower, upper = box
    shape = (count, *lower.shape)
    return (upper - lower) * rng.uniform(0.5, 1.0, shape) * rng.choice([-1.0, 1.0], shape)


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
