"""Functions to learn that come along, one a file."""

from __future__ import annotations

from gradwire._errors import UsageError
from gradwire_training._truth import SPACINGS, Quantity, Truth
from gradwire_training.problems._log import LOG
from gradwire_training.problems._problem import LOSSES, Problem

__all__ = ["LOSSES", "SPACINGS", "Problem", "Quantity", "Truth", "get", "names"]

_KNOWN: dict[str, Problem] = {known.name: known for known in (LOG,)}


def names() -> list[str]:
    """Gives the names of the problems."""
    return list(_KNOWN)


def get(name: str) -> Problem:
    """Gives a problem by its name.

    Args:
        name: one of ``names()``.

    Raises:
        UsageError: another name.
    """
    if name not in _KNOWN:
        raise UsageError(f"problem {name!r}, expected one of {', '.join(names())}")
    return _KNOWN[name]
