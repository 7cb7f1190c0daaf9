"""Adam with cosine decay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

import keras

from gradwire_training.optimizers._optimizer import Optimizer
from gradwire_training.optimizers._steps import run_steps

if TYPE_CHECKING:
    from gradwire_training._monitor import Monitor
    from gradwire_training._objective import Objective


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Adam(Optimizer):
    """Adam (Kingma and Ba, arXiv 1412.6980, algorithm 1) on all rows.

    The learning rate falls along half a cosine, from ``learning_rate`` at the first step to zero after the
    last (Loshchilov and Hutter, arXiv 1608.03983, equation 5, without restarts).

    Attributes:
        learning_rate: default 0.01: ten times Keras's, since gradients of all rows carry no noise.
    """

    name: ClassVar[str] = "adam"
    steps: ClassVar[int] = 10_000  # half a second on a small network
    learning_rate: float = 0.01

    def minimize(self, objective: Objective, monitor: Monitor, *, steps: int) -> None:
        """Takes the steps (see ``Optimizer.minimize``)."""
        decay: Any = keras.optimizers.schedules.CosineDecay(self.learning_rate, decay_steps=steps)
        run_steps(objective, keras.optimizers.Adam(decay), monitor, steps=steps, name=self.name)
