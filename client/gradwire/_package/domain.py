"""The box in which a model is used: bounds of every input, from the caller or from the card."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from gradwire._errors import InputNameError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

    from gradwire._package.card import Card, CardTensor

UNKNOWN_BOUND: Final = 1.0  # inputs are taken to lie in [-1, 1] where nothing says otherwise
UNKNOWN_INTEGER: Final = (0.0, 1.0)  # integers are counts and places in a table: -1 may be none
_COUNTING: Final = ("int", "uint", "bool")

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
        raise InputNameError(f"domain of {sorted(set(given) - set(names))}, expected inputs of the model: {names}")
    return {tensor.name: _box(tensor, given.get(tensor.name)) for tensor in card.inputs}


def _box(tensor: CardTensor, given: tuple[ArrayLike, ArrayLike] | None) -> Box:
    unknown = UNKNOWN_INTEGER if tensor.dtype.startswith(_COUNTING) else (-UNKNOWN_BOUND, UNKNOWN_BOUND)
    if given is None and tensor.domain is not None:
        bounds = (tensor.domain.lower, tensor.domain.upper)
    else:
        bounds = given or unknown
    try:
        lower, upper = (np.broadcast_to(np.asarray(bound, np.float64), tensor.shape).copy() for bound in bounds)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"domain of {tensor.name!r}: {error}; expected two numbers or arrays of {tensor.shape}"
        ) from error
    if given is None:  # a card says null for a bound that it does not know
        lower[~np.isfinite(lower)], upper[~np.isfinite(upper)] = unknown
    if not (np.isfinite(lower).all() and np.isfinite(upper).all() and (lower <= upper).all() and (lower < upper).any()):
        raise UsageError(
            f"domain of {tensor.name!r} is {lower} to {upper}, expected finite bounds with room between them"
        )
    return lower, upper
