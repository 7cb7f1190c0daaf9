"""Second derivatives times a vector, from the blocks that a package returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def hessian_product(
    names: Mapping[str, Mapping[str, str]],
    wrt: str,
    size: int,
    blocks: Mapping[str, NDArray[Any]],
    v: Mapping[str, Floats],
) -> Floats:
    """Sum an output's second derivatives with respect to one input and any other, times that other's vector.

    Args:
        names: of the second derivatives, ``{first input: {second input: name}}``, each pair once, as a card holds them.
        wrt: the one input.
        size: how many elements a row of the output has.
        blocks: the second derivatives by name, ``(points, …)``.
        v: the vectors by input, ``(points, elements)``.

    Returns:
        ``(points, size * elements)``: the first derivative's shape, flattened.
    """
    points, n = v[wrt].shape
    total = np.zeros((points, size, n))
    for first, by_second in names.items():
        for second, name in by_second.items():
            if first == wrt:
                total += np.einsum("pmij,pj->pmi", blocks[name].reshape(points, size, n, -1), v[second])
            elif second == wrt:
                total += np.einsum("pmij,pi->pmj", blocks[name].reshape(points, size, -1, n), v[first])
    return total.reshape(points, -1)
