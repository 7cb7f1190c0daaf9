"""The default: Adam to come near, L-BFGS to arrive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, final

from gradwire_training.optimizers._adam import Adam
from gradwire_training.optimizers._lbfgs import Lbfgs
from gradwire_training.optimizers._optimizer import Optimizer

if TYPE_CHECKING:
    from gradwire_training._monitor import Monitor
    from gradwire_training._objective import Objective

# Of the steps: more of Adam gained nothing, for L-BFGS overtakes it within 100 steps.
ADAM_SHARE: Final = 2 / 7


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Auto(Optimizer):
    """Adam for two sevenths of the steps, then L-BFGS, both in float64.

    Adam leaves the flat start where L-BFGS may stay; L-BFGS gains the last six digits of the loss.

    Attributes:
        learning_rate: of Adam.
        memory: of L-BFGS.
        flat: of L-BFGS.
    """

    name: ClassVar[str] = "auto"
    steps: ClassVar[int] = 7_000  # 2,000 and 5,000: some four seconds on a small network
    precision: ClassVar[str | None] = Lbfgs.precision
    learning_rate: float = 0.01
    memory: int = 30
    flat: float = 1e-12

    def minimize(self, objective: Objective, monitor: Monitor, *, steps: int) -> None:
        """Takes the steps of one, then of the other (see ``Optimizer.minimize``)."""
        first = max(1, round(steps * ADAM_SHARE))
        Adam(learning_rate=self.learning_rate).minimize(objective, monitor, steps=first)
        if monitor.status == "completed" and first < steps:
            Lbfgs(memory=self.memory, flat=self.flat).minimize(objective, monitor, steps=steps - first)
