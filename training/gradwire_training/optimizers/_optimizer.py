"""What every optimiser is."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import fields
from typing import TYPE_CHECKING, Any, ClassVar

from gradwire._errors import UsageError

if TYPE_CHECKING:
    from gradwire_training._objective import Objective
    from gradwire_training._progress import Monitor


class Optimizer(ABC):
    """A way to make an objective small.

    Concrete optimisers are frozen dataclasses: their fields are their settings, numbers above zero or switches.

    Attributes:
        name: how commands and records call it.
        steps: how many it takes unless told otherwise.
        precision: the dtype that it has to compute in; None takes the package's.
    """

    name: ClassVar[str]
    steps: ClassVar[int]
    precision: ClassVar[str | None] = None

    def __post_init__(self) -> None:
        for name, value in self.settings().items():
            if not (value is None or isinstance(value, bool) or (math.isfinite(value) and value > 0)):
                raise UsageError(f"{self.name}: {name} is {value}, expected a finite number above 0")

    @abstractmethod
    def minimize(self, objective: Objective, monitor: Monitor, *, steps: int) -> None:
        """Moves the objective's variables to where its loss is small.

        Args:
            objective: with the variables where they are to start.
            monitor: gets a report several times a second, and may end the fit.
            steps: at most.
        """

    def steps_for(self, objective: Objective) -> int:
        """Says how many steps it takes at most, unless told."""
        del objective  # most have one number for all
        return self.steps

    def settings(self) -> dict[str, Any]:
        """Gives the settings as plain data: ``get(name)`` of the same package, with these, repeats it."""
        return {field.name: getattr(self, field.name) for field in fields(self)}  # pyright: ignore[reportArgumentType] - every concrete class is a dataclass
