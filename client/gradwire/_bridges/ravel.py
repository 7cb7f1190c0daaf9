"""Named tensors as one vector and back, and their derivatives as one matrix: the arithmetic of ``Bridge``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradwire._package import CardTensor

Array = NDArray[Any]
Arrays = Mapping[str, Array]
Tensors = Sequence[CardTensor]


def sizes(tensors: Iterable[CardTensor]) -> list[int]:
    """Return the number of elements in a row of each tensor."""
    return [math.prod(tensor.shape) for tensor in tensors]


def unravel(array: Any, tensors: Tensors) -> list[Any]:
    """Cut the last axis into the tensors that were joined there; any array that can be sliced will do."""
    ends = accumulate(sizes(tensors), initial=0)
    return [array[..., start:end] for start, end in pairwise(ends)]


def ravel_outputs(outputs: Tensors, arrays: Arrays) -> Array:
    """Join outputs: ``(rows, m)``.

    Args:
        outputs: in order.
        arrays: by name, ``(rows, *output)``.
    """
    return np.concatenate([_flat(arrays[output.name], output) for output in outputs], -1)


def ravel_jacobian(outputs: Tensors, wrt: Tensors, names: Mapping[str, Mapping[str, str]], arrays: Arrays) -> Array:
    """Join first derivatives: ``(rows, m, n)``.

    Args:
        outputs: in order.
        wrt: the inputs, in order.
        names: the card's ``derivatives``.
        arrays: by tensor name.
    """

    def row(output: CardTensor) -> Array:
        return np.concatenate([_flat(arrays[names[output.name][x.name]], output, x) for x in wrt], -1)

    return np.concatenate([row(output) for output in outputs], 1)


def ravel_hessian(
    outputs: Tensors, wrt: Tensors, names: Mapping[str, Mapping[str, Mapping[str, str]]], arrays: Arrays
) -> Array:
    """Join second derivatives, of which a package has each pair of inputs once: ``(rows, m, n, n)``.

    Args:
        outputs: in order.
        wrt: the inputs, in order.
        names: the card's ``second_derivatives``.
        arrays: by tensor name.
    """

    def block(output: CardTensor, first: CardTensor, second: CardTensor) -> Array:
        by_first = names[output.name]
        if second.name in by_first.get(first.name, {}):
            return _flat(arrays[by_first[first.name][second.name]], output, first, second)
        return _flat(arrays[by_first[second.name][first.name]], output, second, first).swapaxes(-1, -2)

    def square(output: CardTensor) -> Array:
        return np.concatenate([np.concatenate([block(output, x, y) for y in wrt], -1) for x in wrt], -2)

    return np.concatenate([square(output) for output in outputs], 1)


def _flat(array: Array, *tensors: CardTensor) -> Array:
    """An axis for the rows, and one for each tensor."""
    return array.reshape(len(array), *sizes(tensors))
