"""Built-in problems, one known function a file."""

from __future__ import annotations

import re
from functools import cache
from typing import Final

from gradwire._errors import UsageError
from gradwire_training._data import SPACINGS, Quantity, SamplingDistribution, Truth
from gradwire_training.problems._basket import BASKET
from gradwire_training.problems._black_scholes import BLACK_SCHOLES
from gradwire_training.problems._family import Family
from gradwire_training.problems._lennard_jones import LENNARD_JONES
from gradwire_training.problems._log import LOG
from gradwire_training.problems._problem import LOSSES, Problem
from gradwire_training.problems._rosenbrock import ROSENBROCK
from gradwire_training.problems._styblinski_tang import STYBLINSKI_TANG

__all__ = ["LOSSES", "SPACINGS", "Problem", "Quantity", "SamplingDistribution", "Truth", "get", "known", "names"]

DIMENSIONS: Final = 2  # of a family whose name has no number

_KNOWN: Final[dict[str, Problem]] = {problem.name: problem for problem in (LOG, BLACK_SCHOLES, BASKET, LENNARD_JONES)}
# "rosenbrock" has DIMENSIONS, "rosenbrock-5" has five.
_FAMILIES: Final[dict[str, Family]] = {family.name: family for family in (STYBLINSKI_TANG, ROSENBROCK)}
_MEMBER: Final = re.compile(rf"({'|'.join(_FAMILIES)})-([1-9]\d{{0,3}})")


def names() -> list[str]:
    """Return the names of the problems; families also take a number of dimensions: ``rosenbrock-5``."""
    return [*_KNOWN, *_FAMILIES]


def get(name: str) -> Problem:
    """Return a problem by its name.

    Args:
        name: one of ``names()``; ``"rosenbrock"`` and ``"styblinski-tang"`` have two dimensions, or as many as a number
            at the end says.

    Raises:
        UsageError: an unknown name, or a number of dimensions that the problem does not have.
    """
    if name in _KNOWN:
        return _KNOWN[name]
    if name in _FAMILIES:
        return _member(name, DIMENSIONS)
    if match := _MEMBER.fullmatch(name):
        return _member(match[1], int(match[2]))
    raise UsageError(
        f"problem {name!r}, expected one of {', '.join(names())}, or with a number of dimensions, as in rosenbrock-5"
    )


def known(name: str | None) -> bool:
    """Return whether ``get`` knows a problem; the record of a fit to other samples has None as its name."""
    try:
        return name is not None and bool(get(name))
    except UsageError:
        return False


@cache
def _member(family: str, dimensions: int) -> Problem:
    name = family if dimensions == DIMENSIONS else f"{family}-{dimensions}"
    return _FAMILIES[family].problem(name, dimensions)
