"""What a fit does between its steps: history, best weights, callbacks, checkpoints, and reasons to stop."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from gradwire_training._objective import Weights
from gradwire_training._progress.checkpoint import NETWORK, Arrays, Checkpoint

Status: TypeAlias = Literal["completed", "stopped", "interrupted", "diverged"]


@final
@dataclass(frozen=True, slots=True)
class Progress:
    """How far a fit has come; callbacks get one several times a second.

    Attributes:
        step: steps taken.
        steps: steps at most; an optimiser with nothing left to gain takes fewer.
        loss: at the last step.
        mae: mean absolute error of the known values at the last step.
        seconds: since the fit began.
        optimizer: name of the optimiser at work, such as ``"adam"``.
    """

    step: int
    steps: int
    loss: float
    mae: float
    seconds: float
    optimizer: str


Callback: TypeAlias = Callable[[Progress], "bool | None"]  # True stops the fit


CONSULT_SECONDS: Final = 0.25  # about how often callbacks run while nothing is fitted


@final
class Monitor:
    """The progress of one fit: optimisers report to it, and it tells them whether to go on."""

    def __init__(
        self,
        steps: int,
        callbacks: Sequence[Callback],
        *,
        seconds: float | None = None,
        began: float | None = None,
        network: Mapping[str, Any] | None = None,
    ) -> None:
        self.network = dict(network or {})  # that was chosen for the fit, as plain data: checkpoints hold it
        self.status: Status = "completed"
        self.time_was_up = False  # at the last report
        self.selection_reason = ""  # what auto picked and why; empty where the caller chose the optimiser
        self.choice: dict[str, Any] | None = None  # that auto made by rows held out: a ridge, or a number of steps
        self._limit = math.inf if seconds is None else seconds
        self.step = 0
        self.xla = True
        self.most_steps = steps
        self._callbacks = tuple(callbacks)
        self._began = time.perf_counter() if began is None else began
        self._history: list[tuple[NDArray[np.float64], NDArray[np.float64], str]] = []
        self._best: tuple[float, Weights] | None = None
        self._checkpoint: Checkpoint | None = None
        self._resumed: Arrays = {}
        self._consulted = time.perf_counter()

    def use_checkpoint(self, checkpoint: Checkpoint, *, resume: bool) -> None:
        """Write checkpoints from now on; resume from the file if it exists and ``resume`` is set."""
        checkpoint.require_writable()
        self._checkpoint = checkpoint
        content = checkpoint.read() if resume else None
        if content is not None:
            history, self._resumed = content
            self._restore(history)

    def checkpoint(self, optimizer: str, state: Callable[[], dict[str, Any]]) -> None:
        """Write a checkpoint if the last one is some seconds old, else do nothing.

        Optimisers call it between two steps, after ``report``. ``state`` is called only when a file is written; its
        ``"done"`` is the number of steps that the optimiser has taken.
        """
        if self._checkpoint is not None and self._checkpoint.is_due:
            entries = {f"{optimizer}.{name}": np.array(value) for name, value in state().items()}
            self._checkpoint.write(self._state(), entries)

    def resumed(self, optimizer: str) -> Arrays | None:
        """Return what an optimiser gave to ``checkpoint`` before the fit was killed.

        The model has its weights already. None where another optimiser was at work, in a fit that does not resume, and
        as soon as a step has been reported.
        """
        prefix = f"{optimizer}."
        entries = {name.removeprefix(prefix): entry for name, entry in self._resumed.items() if name.startswith(prefix)}
        return entries or None

    @property
    def seconds(self) -> float:
        """Time since the fit began."""
        return time.perf_counter() - self._began

    @property
    def time_is_up(self) -> bool:
        """Whether the fit has taken all its seconds; ``report`` then ends it."""
        return self.seconds >= self._limit

    @property
    def seconds_left(self) -> float:
        """Time until the fit has taken all its seconds; infinite where it has no limit."""
        return self._limit - self.seconds

    def share_for(self, runs: int, more: float) -> float:
        """Return the share of its seconds after which the next of so many runs should end, so that all take as long.

        Args:
            runs: still to come, the next one included.
            more: how many times as long the fit itself takes, for which time is left.
        """
        passed = self.seconds / self._limit
        return passed + max(1 - passed, 0.0) / (runs + more)

    @contextmanager
    def until(self, share: float) -> Iterator[None]:
        """Let an optimiser that is not the last one have a share of the seconds that are left."""
        limit = self._limit
        self._limit = self.seconds + share * max(limit - self.seconds, 0.0)
        try:
            yield
        finally:
            self._limit = limit
            self.time_was_up = self.time_is_up

    @property
    def best(self) -> tuple[float, Weights] | None:
        """The smallest loss that was offered, and its weights; None before any was finite."""
        return self._best

    def offer(self, loss: float, weights: Weights) -> None:
        """Remember a snapshot of weights if their loss is the smallest so far."""
        if math.isfinite(loss) and (self._best is None or loss < self._best[0]):
            self._best = (float(loss), weights)

    def report(self, losses: NDArray[Any], maes: NDArray[Any], optimizer: str, *, xla: bool) -> bool:
        """Record steps, call the callbacks, and return whether to go on."""
        self._history.append((np.asarray(losses, np.float64), np.asarray(maes, np.float64), optimizer))
        self.step += len(losses)
        self.xla &= xla
        self._resumed = {}
        if not np.isfinite(losses).all():
            self.status = "diverged"
            return False
        self._call(float(losses[-1]), float(maes[-1]), optimizer)
        self.time_was_up = self.time_is_up
        return self.status == "completed" and not self.time_was_up

    def goes_on(self, loss: float, mae: float, optimizer: str, *, share: float) -> bool:
        """Tell the callbacks of a step that is no part of the fit, if they have heard nothing for a while.

        Optimisers call it while they choose how to fit. It returns whether to go on with that: no callback stops the
        fit, and less than a ``share`` of its seconds has passed.
        """
        if time.perf_counter() - self._consulted > CONSULT_SECONDS:
            self._consulted = time.perf_counter()
            self._call(loss, mae, optimizer)
        return self.status == "completed" and self.seconds < share * self._limit

    def _call(self, loss: float, mae: float, optimizer: str) -> None:
        progress = Progress(
            step=self.step, steps=self.most_steps, loss=loss, mae=mae, seconds=self.seconds, optimizer=optimizer
        )
        responses = [callback(progress) for callback in self._callbacks]
        if any(response is True for response in responses):
            self.status = "stopped"

    def history(self) -> dict[str, NDArray[Any]]:
        """Return ``step`` (from 1), ``loss``, ``mae`` and ``optimizer`` of every step."""
        counts, names = self._reports()
        return {"step": np.arange(1, self.step + 1), **self._losses(), "optimizer": np.repeat(names, counts)}

    def _reports(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the number of steps of each report, and the optimiser that was at work."""
        return (
            np.array([len(losses) for losses, _, _ in self._history], dtype=np.int64),
            np.array([name for _, _, name in self._history], dtype=np.str_),
        )

    def _losses(self) -> Arrays:
        none = np.empty(0)
        return {
            "loss": np.concatenate([none, *(losses for losses, _, _ in self._history)]),
            "mae": np.concatenate([none, *(maes for _, maes, _ in self._history)]),
        }

    def _state(self) -> Arrays:
        """Return what a checkpoint holds of the monitor."""
        counts, names = self._reports()
        best = {} if self._best is None else {f"best:{i}": array for i, array in enumerate(self._best[1])}
        return {
            **self._losses(),
            "reports": counts,
            "optimizers": names,
            "seconds": np.array(self.seconds),
            "xla": np.array(self.xla),
            "choice": np.array(json.dumps([self.selection_reason, self.choice])),
            **({NETWORK: np.array(json.dumps(self.network))} if self.network else {}),
            "best": np.array(np.nan if self._best is None else self._best[0]),
            **best,
        }

    def _restore(self, state: Arrays) -> None:
        """Go on from what ``_state`` returned; the seconds of the fit continue."""
        ends = np.cumsum(state["reports"])[:-1]
        parts = (np.split(state[name], ends) for name in ("loss", "mae"))
        self._history = list(zip(*parts, state["optimizers"].tolist(), strict=True))
        self.step = len(state["loss"])
        self.xla = bool(state["xla"])
        if "choice" in state:  # files of older versions have none
            self.selection_reason, self.choice = json.loads(str(state["choice"]))
        self._began = time.perf_counter() - float(state["seconds"])
        weights = [state[f"best:{i}"] for i in range(sum(name.startswith("best:") for name in state))]
        self._best = (float(state["best"]), weights) if weights else None
