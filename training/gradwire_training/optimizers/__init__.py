"""Ways to make a loss small, one a file."""

from __future__ import annotations

from typing import Any

from gradwire._errors import UsageError
from gradwire_training.optimizers._adam import Adam
from gradwire_training.optimizers._auto import Auto
from gradwire_training.optimizers._lbfgs import Lbfgs
from gradwire_training.optimizers._lm import Lm
from gradwire_training.optimizers._optimizer import Optimizer
from gradwire_training.optimizers._sgd import Sgd

__all__ = ["Adam", "Auto", "Lbfgs", "Lm", "Optimizer", "Sgd", "get", "names"]

_KNOWN: dict[str, type[Optimizer]] = {known.name: known for known in (Auto, Lm, Lbfgs, Adam, Sgd)}


def names() -> list[str]:
    """Gives the names of the optimisers, the default first."""
    return list(_KNOWN)


def get(name: str, **settings: Any) -> Optimizer:
    """Gives an optimiser by its name.

    Args:
        name: one of ``names()``.
        **settings: fields of the optimiser's class; the rest keep their defaults.

    Raises:
        UsageError: an unknown name, an unknown setting, or a setting that is not above zero.
    """
    if name not in _KNOWN:
        raise UsageError(f"optimizer {name!r}, expected one of {', '.join(names())}")
    try:
        return _KNOWN[name](**settings)
    except TypeError as error:
        raise UsageError(f"optimizer {name!r}: {error}; its settings are {_KNOWN[name]().settings()}") from error
