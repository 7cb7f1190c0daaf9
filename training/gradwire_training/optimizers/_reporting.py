"""What the optimisers share between their steps: reports, checkpoints, resuming."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, Final, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from gradwire_training._objective import Objective
from gradwire_training._progress import Arrays, Monitor
from gradwire_training.optimizers._folds import weights_of

Array: TypeAlias = "NDArray[np.float64]"

REPORT_SECONDS: Final = 0.1  # between reports: a step of a small network takes under a millisecond, a progress bar more


@final
class Reporter:
    """The link from one optimiser to the monitor of the fit.

    Optimisers that run many steps in one compiled call hand them over with ``report``. Optimisers whose state is one
    flat vector of weights start at ``start()``, hand over each step with ``step``, and end with ``finish``. ``state``
    returns what the optimiser needs to resume beside the weights; ``resumed`` is what it returned before the fit was
    killed, until the first report.
    """

    def __init__(
        self, objective: Objective, monitor: Monitor, name: str, state: Callable[[], dict[str, Any]] = dict
    ) -> None:
        self._objective = objective
        self._monitor = monitor
        self._name = name
        self._state = state
        self.resumed: Arrays | None = monitor.resumed(name)
        self._reported_steps = 0 if self.resumed is None else int(self.resumed["done"])
        self._pending: list[tuple[float, float]] = []
        self._reported_at = time.perf_counter()

    @property
    def done(self) -> int:
        """Steps that this optimiser has taken, those before it resumed included."""
        return self._reported_steps + len(self._pending)

    def report(self, losses: NDArray[Any], maes: NDArray[Any], *, xla: bool) -> bool:
        """Report steps, write a checkpoint if one is due, and return whether to go on.

        The model has the weights of the last step.
        """
        self._reported_steps += len(losses)
        self.resumed = None  # used up, and as large as the weights
        goes_on = self._monitor.report(losses, maes, self._name, xla=xla)
        if goes_on:
            self._monitor.checkpoint(self._name, lambda: {"done": self._reported_steps, **self._state()})
        return goes_on

    def start(self) -> Array:
        """Return the trainable weights as one vector."""
        return weights_of(self._objective.trainable)

    def step(self, point: Array, loss: float, mae: float, *, xla: bool) -> bool:
        """Record a step, report several times a second, and return whether to go on."""
        self._pending.append((loss, mae))
        is_due = time.perf_counter() - self._reported_at > REPORT_SECONDS
        if not (is_due or self._monitor.time_is_up or not math.isfinite(loss)):
            return True
        self._monitor.offer(loss, self._moved_to(point).snapshot())
        return self._flush(xla=xla)

    def finish(self, point: Array, *, xla: bool) -> None:
        """Leave the weights of the last step in the model, and report the steps that are still pending."""
        self._moved_to(point)
        if self._pending:
            self._flush(xla=xla)

    def _flush(self, *, xla: bool) -> bool:
        losses, maes = np.array(self._pending).T
        self._pending.clear()
        goes_on = self.report(losses, maes, xla=xla)
        self._reported_at = time.perf_counter()
        return goes_on

    def _moved_to(self, point: Array) -> Objective:
        self._objective.move_to(point)
        return self._objective
