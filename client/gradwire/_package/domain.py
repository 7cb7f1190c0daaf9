"""The box in which a model is used: bounds of every input, from the caller or from the card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradwire._errors import InputNameError, UsageError
from gradwire._package.card import Card, CardTensor, Domain
from gradwire._package.dtypes import STRING

UNKNOWN_BOUNDS: Final = (-1.0, 1.0)  # where inputs are taken to lie when neither the card nor the caller says
UNKNOWN_INTEGERS: Final = (0.0, 1.0)  # integers are counts and positions in a table: -1 may be none
_INTEGERS: Final = ("int", "uint", "bool")


class Box(NamedTuple):
    """Bounds for every element of an input's row.

    Attributes:
        lower: smallest values, float64 of the input's row shape.
        upper: largest values, the same shape.
    """

    lower: NDArray[Any]
    upper: NDArray[Any]

    @classmethod
    def read(cls, name: str, bounds: Domain | Sequence[ArrayLike], shape: Sequence[int]) -> Box:
        """Read bounds that a caller gives.

        Args:
            name: of the input, for messages.
            bounds: lower and upper, each broadcast to ``shape``.
            shape: of one row of the input.

        Raises:
            UsageError: they are not finite, not ordered, or of another shape.
        """
        pair = (bounds.lower, bounds.upper) if isinstance(bounds, Domain) else bounds
        try:
            lower, upper = (_broadcast(bound, shape) for bound in pair)
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"domain of {name!r}: {error}; expected two numbers or arrays for rows of shape {tuple(shape)}"
            ) from error
        if not (np.isfinite(lower).all() and np.isfinite(upper).all() and (lower <= upper).all()):
            raise UsageError(f"domain of {name!r} is {lower} to {upper}, expected finite bounds, lower <= upper")
        return cls(lower, upper)

    @classmethod
    def of_card(cls, tensor: CardTensor, unknown: tuple[float, float]) -> Box:
        """Read the bounds on a card.

        Args:
            tensor: the input on the card, which says null for a bound that it does not know.
            unknown: what stands in for such a bound.

        Raises:
            UsageError: the card's bounds are of another shape than the input's rows.
        """
        bounds = tensor.domain or Domain(np.nan, np.nan)
        try:
            lower, upper = _broadcast(bounds.lower, tensor.shape), _broadcast(bounds.upper, tensor.shape)
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"the card's domain of {tensor.name!r}: {error}; expected bounds of {tensor.shape}: export it again"
            ) from error
        lower[~np.isfinite(lower)], upper[~np.isfinite(upper)] = unknown
        return cls(lower, upper)

    @property
    def domain(self) -> Domain:
        """The box as a card has it."""
        return Domain(self.lower.tolist(), self.upper.tolist())


def _broadcast(bound: Any, shape: Sequence[int]) -> NDArray[np.float64]:
    return np.broadcast_to(np.asarray(bound, np.float64), tuple(shape)).copy()


def boxes_of(card: Card, domain: Mapping[str, Sequence[ArrayLike]] | None) -> dict[str, Box]:
    """Return the bounds of every input.

    Args:
        card: the package's card.
        domain: bounds by input name, each broadcast to the input's row shape; they replace the card's.

    Returns:
        Boxes by input name; where neither says [-1, 1], of integers [0, 1].

    Raises:
        InputNameError: ``domain`` names an unknown input.
        UsageError: bounds are not finite, not ordered, or have another shape; or an input takes text.
    """
    domain = domain or {}
    names = [tensor.name for tensor in card.inputs]
    if set(domain) - set(names):
        raise InputNameError(f"domain of {sorted(set(domain) - set(names))}, expected inputs of the model: {names}")
    boxes: dict[str, Box] = {}
    for tensor in card.inputs:
        if tensor.dtype == STRING:
            raise UsageError(
                f"input {tensor.name!r} is string, of which no points can be drawn: call the model at points of your own, "
                f"Model.predict or gradwire query --input {tensor.name}=TEXT"
            )
        if tensor.name in domain:
            box = Box.read(tensor.name, domain[tensor.name], tensor.shape)
        else:
            box = Box.of_card(tensor, UNKNOWN_INTEGERS if tensor.dtype.startswith(_INTEGERS) else UNKNOWN_BOUNDS)
        if not (box.lower <= box.upper).all():
            raise UsageError(f"domain of {tensor.name!r} is {box.lower} to {box.upper}, expected lower <= upper")
        boxes[tensor.name] = box
    return boxes
