"""The function of Styblinski and Tang: f = 1/2 sum over i of x[i]^4 - 16 x[i]^2 + 5 x[i].

Its minimum is -39.16616570377142 a dimension.
"""

from __future__ import annotations

from typing import Final

from gradwire_training._data import Derivatives, Table
from gradwire_training.problems._family import Family


def _values(x: Table) -> Table:
    point = x["x"]
    return {"f": (point**4 - 16 * point**2 + 5 * point).sum(axis=1, keepdims=True) / 2}


def _derivatives(x: Table) -> Derivatives:
    return {"f": {"x": 2 * x["x"] ** 3 - 16 * x["x"] + 2.5}}


STYBLINSKI_TANG: Final = Family(
    name="styblinski-tang",
    title="Styblinski and Tang's function",
    source="Styblinski and Tang, Neural Networks 3, 1990",
    domain=(-5.0, 5.0),
    lowest=-2.9035340277711771,  # a root of 4x^3 - 32x + 5
    f=_values,
    df=_derivatives,
)
