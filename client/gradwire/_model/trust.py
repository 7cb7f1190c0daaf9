"""Where a package may be trusted: its domain, and error bars no larger than any at a sample."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from gradwire._errors import PackageError
from gradwire._package import BY_NAME, Box, Card, CardTensor, beyond_distances, std_name

_UNBOUNDED: Final = (-math.inf, math.inf)
TRUSTED: Final = "trusted"  # the column of batch and query that flags rows


@final
class InputDomain:
    """What the samples covered of an input: the distances of its atoms, or else a box.

    The box is in the input's own dtype, so that a bound that was rounded lies inside.
    """

    def __init__(self, tensor: CardTensor, dtype: np.dtype[Any]) -> None:
        self._tensor, self._dtype = tensor, dtype
        lower, upper = Box.of_card(tensor, _UNBOUNDED)
        self._box = Box(lower.astype(dtype), upper.astype(dtype)) if dtype.kind == "f" else Box(lower, upper)

    def outside(self, rows: NDArray[Any]) -> NDArray[np.bool_]:
        """Return which rows lie outside, ``(rows,)``; NaN does."""
        if self._tensor.distances is not None:
            return beyond_distances(self._tensor, rows)
        lower, upper = (bound.reshape(-1) for bound in self._box)
        own = rows.astype(lower.dtype).reshape(len(rows), lower.size)
        return np.logical_not(((own >= lower) & (own <= upper)).all(axis=1))

    @override
    def __str__(self) -> str:
        if self._tensor.distances is not None:
            return "by the distances of its atoms"
        return f"{shown(self._box.lower)} to {shown(self._box.upper)}"


def domains_of(card: Card) -> dict[str, InputDomain]:
    """Return the domains of inputs by name, of those where they are known.

    Raises:
        UsageError: the card's bounds are of another shape than the input's rows.
    """
    return {
        tensor.name: InputDomain(tensor, BY_NAME[tensor.dtype].numpy)
        for tensor in card.inputs
        if (tensor.domain is not None or tensor.distances is not None) and tensor.dtype in BY_NAME
    }


class Trust(NamedTuple):
    """The largest error bar of each output that is trusted.

    Attributes:
        limits: by the bar's tensor, ``(elements,)``.
    """

    limits: Mapping[str, NDArray[np.float64]]

    @classmethod
    def of(cls, card: Card) -> Trust:
        """Read the limits on a card.

        Raises:
            PackageError: it has none, or they are not positive numbers, one for each element of the output.
        """
        entry: Any = card.uncertainty
        limits: dict[str, NDArray[np.float64]] = {}
        for tensor in card.outputs:
            name = std_name(tensor.name)
            try:
                limit = np.asarray(entry["bars"][name]["trusted_up_to"], np.float64).reshape(-1)
            except (KeyError, TypeError, ValueError) as error:
                raise PackageError(
                    f"the card does not say up to which {name} a point is trusted: export it again"
                ) from error
            if limit.size != math.prod(tensor.shape) or not (limit >= 0).all():
                raise PackageError(
                    f"the card trusts {name} up to {limit}, expected a number for each element of {tensor.shape}"
                )
            limits[name] = limit
        return cls(limits)

    def excess(self, arrays: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
        """Return the largest bar of each row in units of what is trusted, ``(rows,)``: above 1 it is far.

        Args:
            arrays: the bars of the outputs, ``(rows, *output)``.
        """
        ratios = [
            array.reshape(len(array), math.prod(array.shape[1:])).astype(np.float64)
            / np.maximum(self.limits[name], np.finfo(np.float64).tiny)
            for name, array in arrays.items()
            if name in self.limits
        ]
        whole = np.concatenate(ratios, axis=1)
        return np.where(np.isnan(whole), math.inf, whole).max(axis=1, initial=0.0)


def shown(array: NDArray[Any]) -> str:
    """Return an array as messages have it: the ends of a long one."""
    return np.array2string(array.reshape(-1), threshold=6, edgeitems=2, separator=", ")
