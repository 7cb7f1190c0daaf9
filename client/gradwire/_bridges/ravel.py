"""Several tensors as one vector, and their derivatives as one matrix: the arithmetic of ``Bridge``."""

from __future__ import annotations

import math
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, cast

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from gradwire._package import CardTensor

    Array = NDArray[Any]
    Tensors = Sequence[CardTensor]
    Found = Mapping[str, Array]


def listed(found: Any) -> list[Any]:
    """Gives what a function returned as a list, one array or several."""
    return list(cast("tuple[Any, ...]", found)) if isinstance(found, tuple) else [found]


def sizes(tensors: Iterable[CardTensor]) -> list[int]:
    """Counts the numbers of a row of each tensor."""
    return [math.prod(tensor.shape) for tensor in tensors]


def split(array: Any, tensors: Tensors) -> list[Any]:
    """Cuts the last axis into the tensors that were joined there; any array that can be sliced will do."""
    ends = accumulate(sizes(tensors), initial=0)
    return [array[..., start:end] for start, end in pairwise(ends)]


def join_values(outputs: Tensors, found: Found) -> Array:
    """Joins outputs: ``(rows, m)``.

    Args:
        outputs: in order.
        found: by name, ``(rows, *output)``.
    """
    return np.concatenate([_flat(found[output.name], output) for output in outputs], -1)


def join_jacobian(outputs: Tensors, wrt: Tensors, names: Mapping[str, Mapping[str, str]], found: Found) -> Array:
    """Joins first derivatives: ``(rows, m, n)``.

    Args:
        outputs: in order.
        wrt: the inputs, in order.
        names: the card's ``derivatives``.
        found: by tensor name.
    """

    def row(output: CardTensor) -> Array:
        return np.concatenate([_flat(found[names[output.name][x.name]], output, x) for x in wrt], -1)

    return np.concatenate([row(output) for output in outputs], 1)


def join_hessian(
    outputs: Tensors, wrt: Tensors, names: Mapping[str, Mapping[str, Mapping[str, str]]], found: Found
) -> Array:
    """Joins second derivatives, of which a package has each pair once: ``(rows, m, n, n)``.

    Args:
        outputs: in order.
        wrt: the inputs, in order.
        names: the card's ``second_derivatives``.
        found: by tensor name.
    """

    def block(output: CardTensor, first: CardTensor, second: CardTensor) -> Array:
        by_first = names[output.name]
        if second.name in by_first.get(first.name, {}):
            return _flat(found[by_first[first.name][second.name]], output, first, second)
        return _flat(found[by_first[second.name][first.name]], output, second, first).swapaxes(-1, -2)

    def square(output: CardTensor) -> Array:
        return np.concatenate([np.concatenate([block(output, x, y) for y in wrt], -1) for x in wrt], -2)

    return np.concatenate([square(output) for output in outputs], 1)


def _flat(array: Array, *tensors: CardTensor) -> Array:
    """An axis for the rows, and one for each tensor."""
    return array.reshape(len(array), *sizes(tensors))
