"""Gradient descent with a constant learning rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import keras
from typing_extensions import override

from gradwire_training._models import Feature
from gradwire_training._objective import Objective
from gradwire_training._progress import Monitor
from gradwire_training.optimizers._optimizer import Optimizer
from gradwire_training.optimizers._steps import run_steps


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Sgd(Optimizer):
    """Gradient descent on all rows: w <- w - learning_rate * gradient.

    It follows ``model.fit`` with ``keras.optimizers.SGD`` from the same weights, as long as the samples are one batch.
    The defaults are those of the reference blog post that the problem ``log`` names as its source.

    Attributes:
        learning_rate: default 0.1.
    """

    name: ClassVar[str] = "sgd"
    steps: ClassVar[int] = 10_000
    honours: ClassVar[frozenset[Feature]] = frozenset(Feature)
    learning_rate: float = 0.1

    @override
    def minimize(self, objective: Objective, monitor: Monitor, *, steps: int) -> None:
        run_steps(objective, keras.optimizers.SGD(self.learning_rate), monitor, steps=steps, name=self.name)
