"""The function of Styblinski and Tang in any number of dimensions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from gradwire_training.problems._family import member

if TYPE_CHECKING:
    from gradwire_training._data import Derivatives, Table
    from gradwire_training.problems._problem import Problem

DOMAIN: Final = (-5.0, 5.0)
LOWEST: Final = -2.9035340277711771  # every coordinate of the minimum: a root of 4x^3 - 32x + 5


def styblinski_tang(dimensions: int, name: str) -> Problem:
    """Return the problem f = 1/2 sum over i of x[i]^4 - 16 x[i]^2 + 5 x[i].

    Its minimum is -39.16616570377142 a dimension.

    Args:
        dimensions: of x, 1 or more.
        name: of the problem.
    """
    return member(
        name,
        dimensions,
        title="Styblinski and Tang's function",
        source="Styblinski and Tang, Neural Networks 3, 1990",
        domain=DOMAIN,
        lowest=np.full((1, dimensions), LOWEST),
        f=_values,
        df=_derivatives,
    )


def _values(x: Table) -> Table:
    point = x["x"]
    return {"f": (point**4 - 16 * point**2 + 5 * point).sum(axis=1, keepdims=True) / 2}


def _derivatives(x: Table) -> Derivatives:
    return {"f": {"x": 2 * x["x"] ** 3 - 16 * x["x"] + 2.5}}
