"""How short the steps of Levenberg-Marquardt are.

Nielsen's rule: Madsen, Nielsen and Tingleff, Methods for Non-Linear Least Squares Problems, 2004, algorithm 3.16.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, final

SHRINK: Final = 1 / 3  # of the damping, at most, in a step that went as predicted
MOST: Final = 1e16  # of the first one: no step is so short that rounding leaves anything to gain


@final
class Damping:
    """The damping of the next step; ``unit`` is the mean of the equations' diagonal, and ``first`` in units of it."""

    def __init__(self, first: float, *, unit: float) -> None:
        self._unit = unit if unit > 0 else 1.0
        self.mu, self._nu = first * self._unit, 2.0

    @property
    def is_stuck(self) -> bool:
        """Whether steps have become too short to gain anything."""
        return self.mu > MOST * self._unit

    def accept(self, *, gained: float, predicted: float) -> None:
        """Follow a step that was taken: the closer to what was predicted, the longer the next one."""
        self.mu *= max(SHRINK, 1 - (2 * gained / predicted - 1) ** 3)
        self._nu = 2.0

    def reject(self) -> None:
        """Follow a step that was not taken."""
        self.mu *= self._nu
        self._nu *= 2

    def state(self) -> dict[str, Any]:
        """Return what ``resume`` needs."""
        return {"mu": self.mu, "nu": self._nu, "unit": self._unit}

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state`` returned."""
        self.mu, self._nu, self._unit = (float(state[name]) for name in ("mu", "nu", "unit"))
