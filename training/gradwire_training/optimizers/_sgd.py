"""Gradient descent with a constant learning rate: the post's own optimiser."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, final

import keras

from gradwire_training.optimizers._optimizer import Optimizer
from gradwire_training.optimizers._steps import run_steps

if TYPE_CHECKING:
    from gradwire_training._objective import Objective
    from gradwire_training._progress import Monitor


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Sgd(Optimizer):
    """Gradient descent on all rows: w <- w - learning_rate * gradient.

    It follows ``model.fit`` with ``keras.optimizers.SGD`` from the same weights, as long as the samples are
    one batch.

    Attributes:
        learning_rate: default 0.1, the post's.
    """

    name: ClassVar[str] = "sgd"
    steps: ClassVar[int] = 10_000  # the post's epochs
    learning_rate: float = 0.1

    def minimize(self, objective: Objective, monitor: Monitor, *, steps: int) -> None:
        """Takes the steps (see ``Optimizer.minimize``)."""
        run_steps(objective, keras.optimizers.SGD(self.learning_rate), monitor, steps=steps, name=self.name)
