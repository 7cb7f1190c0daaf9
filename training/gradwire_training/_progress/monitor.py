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
    from gradwire_training._progress.checkpoint import Arrays, Checkpoint

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
        seconds: that the fit may take in all; None sets no limit.
        began: when it did, by ``time.perf_counter``; now by default.

    Attributes:
        status: why the fit ended; ``"completed"`` unless something stopped it.
        step: steps done.
        xla: whether XLA compiled every step.
        time_was_up: whether a report came when the fit had taken all its seconds.
        story: what ``auto`` picked and why, in a line; empty where the optimiser was the caller's choice.
        resumed: what the optimiser at work gave to ``checkpoint`` before the fit was killed; an optimiser looks
            for its own entries when it starts, with the weights restored already. None in a fresh fit, and as
            soon as a step was reported.
    """

    def __init__(
        self,
        steps: int,
        callbacks: Sequence[Callback],
        *,
        seconds: float | None = None,
        began: float | None = None,
    ) -> None:
        self.status: Status = "completed"
        self.time_was_up = False
        self.story = ""
        self._limit = math.inf if seconds is None else seconds
        self.step = 0
        self.xla = True
        self._steps = steps
        self._callbacks = tuple(callbacks)
        self._began = time.perf_counter() if began is None else began
        self._history: list[tuple[NDArray[np.float64], NDArray[np.float64], str]] = []
        self._best: tuple[float, Weights] | None = None
        self._checkpoint: Checkpoint | None = None
        self.resumed: Arrays | None = None

    def keep(self, checkpoint: Checkpoint, *, resume: bool) -> None:
        """Writes checkpoints from now on.

        Args:
            checkpoint: the file.
            resume: whether to go on from what it holds; without a file the fit begins at its start.

        Raises:
            PackageError: the file is damaged, or cannot be written.
            UsageError: it is of another fit.
        """
        checkpoint.require_writable()
        self._checkpoint = checkpoint
        found = checkpoint.read() if resume else None
        if found is not None:
            books, self.resumed = found
            self._read_books(books)

    def checkpoint(self, state: Callable[[], Arrays]) -> None:
        """Lets the fit be taken up again from here; writes a file every few seconds, else does nothing.

        Optimisers call it between two steps, after ``report``: the model has the weights of ``step``.

        Args:
            state: gives what the optimiser needs to go on, beside the weights and ``step``; names should begin
                with the optimiser's own. Called only when a file is written.

        Raises:
            PackageError: the file cannot be written.
        """
        if self._checkpoint is not None and self._checkpoint.is_due:
            self._checkpoint.write(self._books(), state())

    @property
    def seconds(self) -> float:
        """Time since the fit began."""
        return time.perf_counter() - self._began

    @property
    def time_is_up(self) -> bool:
        """Whether the fit has taken all the seconds that it may; ``report`` then says so, too."""
        return self.seconds >= self._limit

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
        self.resumed = None
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
        self.time_was_up = self.time_is_up
        return self.status == "completed" and not self.time_was_up

    def history(self) -> dict[str, NDArray[Any]]:
        """Gives ``step`` (from 1), ``loss``, ``mae`` and ``optimizer`` of every step."""
        counts, names = (
            [len(losses) for losses, _, _ in self._history],
            [name for _, _, name in self._history],
        )
        return {
            "step": np.arange(1, self.step + 1),
            **self._losses(),
            "optimizer": np.repeat(np.array(names, dtype=np.str_), counts),
        }

    def _losses(self) -> Arrays:
        none = np.empty(0)
        return {
            "loss": np.concatenate([none, *(losses for losses, _, _ in self._history)]),
            "mae": np.concatenate([none, *(maes for _, maes, _ in self._history)]),
        }

    def _books(self) -> Arrays:
        best = {} if self._best is None else {f"best:{i}": array for i, array in enumerate(self._best[1])}
        return {
            **self._losses(),
            "reports": np.array([len(losses) for losses, _, _ in self._history]),
            "optimizers": np.array([name for _, _, name in self._history], dtype=np.str_),
            "seconds": np.array(self.seconds),
            "xla": np.array(self.xla),
            "best": np.array(np.nan if self._best is None else self._best[0]),
            **best,
        }

    def _read_books(self, books: Arrays) -> None:
        """Restores what ``_books`` gave; a fit's seconds go on where they were."""
        ends = np.cumsum(books["reports"])[:-1]
        parts = (np.split(books[name], ends) for name in ("loss", "mae"))
        self._history = list(zip(*parts, books["optimizers"].tolist(), strict=True))
        self.step = len(books["loss"])
        self.xla = bool(books["xla"])
        self._began = time.perf_counter() - float(books["seconds"])
        weights = [books[f"best:{i}"] for i in range(sum(name.startswith("best:") for name in books))]
        self._best = (float(books["best"]), weights) if weights else None
