"""What happens between the steps of a fit: history, best weights, callbacks, and reasons to stop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gradwire_training._objective import Weights

Status: TypeAlias = Literal["completed", "stopped", "interrupted", "diverged"]


@final
@dataclass(frozen=True, slots=True)
class Progress:
    """How far a fit has come; callbacks get one several times a second.

    Attributes:
        step: steps done.
        steps: steps that may be done; fewer are when an optimiser has nothing left to gain.
        loss: at the last step.
        mae: mean absolute error of the known values at the last step.
        seconds: since the fit began.
        optimizer: the one at work, such as ``"adam"``.
    """

    step: int
    steps: int
    loss: float
    mae: float
    seconds: float
    optimizer: str


Callback: TypeAlias = Callable[[Progress], "bool | None"]  # True asks the fit to stop


@final
class Monitor:
    """Keeps the books of a fit; optimisers report to it and ask it whether to go on.

    Args:
        steps: that may be done in all.
        callbacks: called after each report; one that returns True stops the fit.

    Attributes:
        status: why the fit ended; ``"completed"`` unless something stopped it.
        step: steps done.
        xla: whether XLA compiled every step.
    """

    def __init__(self, steps: int, callbacks: Sequence[Callback]) -> None:
        self.status: Status = "completed"
        self.step = 0
        self.xla = True
        self._steps = steps
        self._callbacks = tuple(callbacks)
        self._began = time.perf_counter()
        self._history: list[tuple[NDArray[np.float64], NDArray[np.float64], str]] = []
        self._best: tuple[float, Weights] | None = None

    @property
    def seconds(self) -> float:
        """Time since the fit began."""
        return time.perf_counter() - self._began

    @property
    def best(self) -> tuple[float, Weights] | None:
        """The smallest loss among those offered, and its weights; None before any was finite."""
        return self._best

    def offer(self, loss: float, weights: Weights) -> None:
        """Keeps weights if their loss is the smallest so far.

        Args:
            loss: of these very weights.
            weights: a snapshot.
        """
        if math.isfinite(loss) and (self._best is None or loss < self._best[0]):
            self._best = (float(loss), weights)

    def report(self, losses: NDArray[Any], maes: NDArray[Any], optimizer: str, *, xla: bool) -> bool:
        """Records steps, and calls the callbacks.

        Args:
            losses: of the steps since the last report, at least one.
            maes: of the same steps.
            optimizer: the one at work.
            xla: whether XLA compiled them.

        Returns:
            Whether to go on.
        """
        self._history.append((np.asarray(losses, np.float64), np.asarray(maes, np.float64), optimizer))
        self.step += len(losses)
        self.xla &= xla
        if not np.isfinite(losses).all():
            self.status = "diverged"
            return False
        progress = Progress(
            step=self.step,
            steps=self._steps,
            loss=float(losses[-1]),
            mae=float(maes[-1]),
            seconds=self.seconds,
            optimizer=optimizer,
        )
        asked = [callback(progress) for callback in self._callbacks]
        if any(answer is True for answer in asked):
            self.status = "stopped"
        return self.status == "completed"

    def history(self) -> dict[str, NDArray[Any]]:
        """Gives ``step`` (from 1), ``loss``, ``mae`` and ``optimizer`` of every step."""
        none = np.empty(0)
        return {
            "step": np.arange(1, self.step + 1),
            "loss": np.concatenate([none, *(losses for losses, _, _ in self._history)]),
            "mae": np.concatenate([none, *(maes for _, maes, _ in self._history)]),
            "optimizer": np.array([name for losses, _, name in self._history for _ in losses], dtype=np.str_),
        }
