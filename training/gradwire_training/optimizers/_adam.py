"""Adam with cosine decay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final, final

import keras
from typing_extensions import override

from gradwire_training._models import Feature
from gradwire_training._objective import Objective
from gradwire_training._progress import Monitor
from gradwire_training.optimizers._optimizer import Optimizer
from gradwire_training.optimizers._steps import run_steps

FULL_ROWS: Final = 16_384  # a step on all of them takes some 10 ms with four inputs and derivatives
BATCH: Final = 1_024  # smaller ones take hardly less time a step


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Adam(Optimizer):
    """Adam (Kingma and Ba, arXiv 1412.6980, algorithm 1), on all rows or on mini-batches.

    The learning rate falls along half a cosine, from ``learning_rate`` at the first step to zero after the
    last (Loshchilov and Hutter, arXiv 1608.03983, equation 5, without restarts).

    Attributes:
        learning_rate: of the first step, default 0.01: ten times Keras's, since gradients of all rows carry no noise,
            and the noise of mini-batches goes with the falling rate.
        batch_size: rows per step, in a new random order every epoch; all rows where there are no more. None, the
            default, takes all of up to 16,384 rows, and 1,024 of more.
    """

    name: ClassVar[str] = "adam"
    steps: ClassVar[int] = 10_000  # half a second on a small network
    streams: ClassVar[bool] = True
    honours: ClassVar[frozenset[Feature]] = frozenset(Feature)
    learning_rate: float = 0.01
    batch_size: int | None = None

    @override
    def minimize(self, objective: Objective, monitor: Monitor, *, steps: int) -> None:
        decay: Any = keras.optimizers.schedules.CosineDecay(self.learning_rate, decay_steps=steps)
        optimizer, batches = keras.optimizers.Adam(decay), objective.batches(self._size(objective))
        try:
            run_steps(objective, optimizer, monitor, steps=steps, name=self.name, batches=batches)
        finally:
            if batches is not None:
                batches.close()

    def _size(self, objective: Objective) -> int | None:
        if self.batch_size is not None:
            return self.batch_size
        return None if objective.rows <= FULL_ROWS else BATCH
