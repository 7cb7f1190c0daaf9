"""What the rivals' drivers share: the clock, the snapshots, and the talk with the benchmark.

A driver runs in its rival's own environment, which holds NumPy and nothing of Gradwire. It answers one line of JSON
on standard input by one on standard output, for as long as the benchmark asks:

    {"loss": "sobolev", "seed": 0, "marks": [0.5, 1, 2, 5], "x": […], "y": […], "dydx": […], "at": […]}
    {"f": [[…], …], "df_dx": [[…], …], "steps": […]}     one entry a mark: what the rival had learnt by then, at `at`

What a rival has at a mark are the weights of the smallest training loss it saw before it: nobody looks at the truth to
choose. The clock runs from the first step: imports, construction and compilation are free for everyone.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Protocol

import numpy as np

WIDTHS = (20, 20)
WARM_UP = 0.3  # seconds of the first, discarded fit: whatever compiles, compiles in it


class OutOfTimeError(Exception):
    """The last mark has passed: how a driver leaves a library's loop that has no end of its own."""


@dataclass(frozen=True)
class Task:
    """One fit: columns of shape (rows, 1) in float64; ``dydx`` is None where values alone are to be fitted."""

    x: np.ndarray
    y: np.ndarray
    dydx: np.ndarray | None
    seed: int


class Track:
    """The best weights so far, and what they were at each mark.

    ``offer`` may be called as often as a driver likes; ``weights`` is a function, called only when the loss is the
    smallest so far, and gives something that later steps do not change.
    """

    def __init__(self, marks: list[float]) -> None:
        self.marks = marks
        self.snapshots: list[tuple[Any, int]] = []  # by mark: weights and the step that they are of
        self._best: tuple[float, Any, int] = (float("inf"), None, 0)
        self._steps = 0
        self._began = 0.0

    def start(self) -> None:
        """Start the clock; call it just before the first step, with everything compiled."""
        self._began = time.perf_counter()

    def offer(self, loss: float, weights: Callable[[], Any], *, steps: int = 1) -> None:
        """Note weights and their loss; raise OutOfTimeError after the last mark."""
        now = time.perf_counter() - self._began
        while len(self.snapshots) < len(self.marks) and now > self.marks[len(self.snapshots)]:
            self._keep()
        if len(self.snapshots) == len(self.marks):
            raise OutOfTimeError
        self._steps += steps
        if loss < self._best[0]:
            self._best = (loss, weights(), self._steps)

    def finish(self) -> None:
        """Fill the marks that a fit that ended early did not reach."""
        while len(self.snapshots) < len(self.marks):
            self._keep()

    def _keep(self) -> None:
        _, weights, steps = self._best
        self.snapshots.append((weights, steps))


class Rival(Protocol):
    """A way to fit; weights are whatever it needs."""

    packages: tuple[str, ...]

    def fit(self, task: Task, track: Track) -> None:
        """Build, compile, call ``track.start()``, and fit until the track or the method ends it."""
        ...

    def predict(self, weights: Any, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return value and derivative at x (rows, 1), each (rows, 1), in the precision of the fit."""
        ...


def serve(rival: Rival) -> None:
    """Answer the benchmark until it closes the pipe."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print goes to standard error: standard output is for answers
    sys.stdout = sys.stderr
    warm: set[str] = set()
    print(json.dumps({package: version(package) for package in rival.packages}), file=answers)
    for line in sys.stdin:
        request = json.loads(line)
        if request["loss"] not in warm:
            _answer(rival, {**request, "marks": [WARM_UP]})
            warm.add(request["loss"])
        print(json.dumps(_answer(rival, request)), file=answers)


def _answer(rival: Rival, request: dict[str, Any]) -> dict[str, Any]:
    x, y, dydx, at = (np.array(request[name], np.float64)[:, None] for name in ("x", "y", "dydx", "at"))
    task = Task(x=x, y=y, dydx=dydx if request["loss"] == "sobolev" else None, seed=request["seed"])
    track = Track(request["marks"])
    with suppress(OutOfTimeError):
        rival.fit(task, track)
    track.finish()
    answer: dict[str, list[Any]] = {"f": [], "df_dx": [], "steps": []}
    for weights, steps in track.snapshots:
        value, slope = (None, None) if weights is None else rival.predict(weights, at)
        answer["f"].append(None if value is None else np.ravel(value).tolist())
        answer["df_dx"].append(None if slope is None else np.ravel(slope).tolist())
        answer["steps"].append(steps)
    return answer
