"""Rosenbrock's valley: f = sum over i of 100 (x[i+1] - x[i]^2)^2 + (1 - x[i])^2, with f = 0 at all ones."""

from __future__ import annotations

from typing import Final

import numpy as np

from gradwire_training._data import Derivatives, Table
from gradwire_training.problems._family import Family

STEEPNESS: Final = 100.0  # Rosenbrock's


def _values(x: Table) -> Table:
    here, after = x["x"][:, :-1], x["x"][:, 1:]
    terms = STEEPNESS * (after - here**2) ** 2 + (1 - here) ** 2
    return {"f": terms.sum(axis=1, keepdims=True)}


def _derivatives(x: Table) -> Derivatives:
    here, after = x["x"][:, :-1], x["x"][:, 1:]
    wrt_after = 2 * STEEPNESS * (after - here**2)
    gradient = np.zeros_like(x["x"])
    gradient[:, :-1] = -2 * here * wrt_after - 2 * (1 - here)
    gradient[:, 1:] += wrt_after
    return {"f": {"x": gradient}}


ROSENBROCK: Final = Family(
    name="rosenbrock",
    title="Rosenbrock's function",
    source="Rosenbrock, The Computer Journal 3, 1960",
    domain=(-2.0, 2.0),  # as in the examples of smt and jenn
    lowest=1.0,
    f=_values,
    df=_derivatives,
    fewest=2,  # each term has two coordinates
)
