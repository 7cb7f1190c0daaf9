"""The interface of the optimisers."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import fields
from typing import Any, ClassVar

from gradwire._errors import UsageError
from gradwire_training._models import Feature
from gradwire_training._objective import Objective
from gradwire_training._progress import Monitor


class Optimizer(ABC):
    """A method that minimises an objective.

    A concrete optimiser is a frozen dataclass whose fields are its settings: numbers above zero, switches, or None. A
    module of this folder that defines one is enough for ``optimizers.get`` to know it.

    Attributes:
        name: in commands and records.
        steps: how many it takes at most by default.
        precision: the dtype that it has to compute in; None takes the package's.
        streams: whether it can fit rows that are not all in memory.
        honours: the features of models that it honours; a model with another one is refused before the first step.
    """

    name: ClassVar[str]
    steps: ClassVar[int]
    precision: ClassVar[str | None] = None
    streams: ClassVar[bool] = False
    honours: ClassVar[frozenset[Feature]] = frozenset()

    def __post_init__(self) -> None:
        for name, value in self.settings().items():
            if not (value is None or isinstance(value, bool) or (math.isfinite(value) and value > 0)):
                raise UsageError(f"{self.name}: {name} is {value}, expected a finite number above 0")

    @abstractmethod
    def minimize(self, objective: Objective, monitor: Monitor, *, steps: int) -> None:
        """Move the objective's variables to where its loss is small.

        Args:
            objective: with the variables where they are to start.
            monitor: gets a report several times a second, and may end the fit (see ``_reporting.Reporter``).
            steps: at most.

        Raises:
            UsageError: the objective is not one that this optimiser can minimise.
        """

    def steps_for(self, objective: Objective) -> int:
        """Return how many steps it takes at most by default."""
        del objective  # most take the same number for all
        return self.steps

    def for_stream(self) -> Optimizer:
        """Return the optimiser that fits a stream in place of this one."""
        return self

    def settings(self) -> dict[str, Any]:
        """Return the settings as plain data: ``optimizers.get(name, **settings)`` makes an equal optimiser."""
        return {field.name: getattr(self, field.name) for field in fields(self)}  # pyright: ignore[reportArgumentType] - every concrete class is a dataclass
