"""Optimisers, one algorithm a file."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import Any, Final

from gradwire._errors import UsageError
from gradwire_training._models import Features
from gradwire_training.optimizers._adam import Adam
from gradwire_training.optimizers._auto import Auto
from gradwire_training.optimizers._bayes import Bayes
from gradwire_training.optimizers._lbfgs import Lbfgs
from gradwire_training.optimizers._lm import Lm
from gradwire_training.optimizers._optimizer import Optimizer
from gradwire_training.optimizers._sgd import Sgd

__all__ = ["Adam", "Auto", "Bayes", "Lbfgs", "Lm", "Optimizer", "Sgd", "get", "names", "require_honoured"]

_MODULES: Final = [import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
# Every concrete optimiser that a module of this folder defines, the default first.
_REGISTRY: Final[dict[str, type[Optimizer]]] = {Auto.name: Auto} | {
    entry.name: entry
    for module in _MODULES
    for entry in vars(module).values()
    if isinstance(entry, type) and issubclass(entry, Optimizer) and entry is not Optimizer
}


def names(*, streams: bool = False) -> list[str]:
    """Return the names of the optimisers, the default first.

    Args:
        streams: whether to leave out those that need all rows in memory.
    """
    return [name for name, optimizer in _REGISTRY.items() if optimizer.streams or not streams]


def require_honoured(optimizer: Optimizer, features: Features) -> None:
    """Raise if a model has a feature that an optimiser does not honour.

    Args:
        optimizer: that is to fit the model.
        features: of the model.

    Raises:
        UsageError: it has; the message names the feature, and the optimisers that honour all that the model has.
    """
    if (why_not := features.why_not(optimizer.honours)) is not None:
        others = [name for name, other in _REGISTRY.items() if features.why_not(other.honours) is None]
        raise UsageError(f"{why_not}, which {optimizer.name} does not honour: use {' or '.join(others)}")


def get(name: str, **settings: Any) -> Optimizer:
    """Return an optimiser by its name.

    Args:
        name: one of ``names()``.
        **settings: fields of the optimiser's class; the rest keep their defaults.

    Raises:
        UsageError: an unknown name, an unknown setting, or a setting that is not above zero.
    """
    if name not in _REGISTRY:
        raise UsageError(f"optimizer {name!r}, expected one of {', '.join(names())}")
    try:
        return _REGISTRY[name](**settings)
    except TypeError as error:
        raise UsageError(f"optimizer {name!r}: {error}; its settings are {_REGISTRY[name]().settings()}") from error
