"""Rosenbrock's valley in any number of dimensions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from gradwire._errors import UsageError
from gradwire_training.problems._family import member

if TYPE_CHECKING:
    from gradwire_training._data import Derivatives, Table
    from gradwire_training.problems._problem import Problem

FEWEST: Final = 2  # each term joins two numbers
STEEPNESS: Final = 100.0  # Rosenbrock's
DOMAIN: Final = (-2.0, 2.0)  # where smt's and jenn's examples have it


def rosenbrock(dimensions: int, name: str) -> Problem:
    """Makes the problem: f = sum over i of 100 (x[i+1] - x[i]^2)^2 + (1 - x[i])^2, with f = 0 at all ones.

    Args:
        dimensions: of x, 2 or more.
        name: by which it is known.

    Raises:
        UsageError: fewer than two dimensions.
    """
    if dimensions < FEWEST:
        raise UsageError(f"rosenbrock in {dimensions} dimensions, expected {FEWEST} or more")
    return member(
        name,
        dimensions,
        title="Rosenbrock's function",
        source="Rosenbrock, The Computer Journal 3, 1960",
        domain=DOMAIN,
        lowest=np.ones((1, dimensions)),
        f=_values,
        df=_derivatives,
    )


def _values(x: Table) -> Table:
    here, after = x["x"][:, :-1], x["x"][:, 1:]
    terms = STEEPNESS * (after - here**2) ** 2 + (1 - here) ** 2
    return {"f": terms.sum(axis=1, keepdims=True)}


def _derivatives(x: Table) -> Derivatives:
    here, after = x["x"][:, :-1], x["x"][:, 1:]
    bend = 2 * STEEPNESS * (after - here**2)
    slope = np.zeros_like(x["x"])
    slope[:, :-1] = -2 * here * bend - 2 * (1 - here)
    slope[:, 1:] += bend
    return {"f": {"x": slope}}
