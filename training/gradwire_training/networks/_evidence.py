"""Networks compared by how probable they make the labels: no row is held out, and chance decides less than on few rows.

The evidence of a fit under priors and noise that are estimated with it (MacKay, Neural Computation 4 (1992) 448-472)
is largest where the labels are explained by few weights: what a larger network gains by following noise it loses
again. So it tells networks apart where errors on held-out rows are noise for the most part, and fits of one network
from several initial weights, which on noisy labels end in minima of quite different worth. On Rosenbrock's function,
1,500 values with 10 % noise, the error against the truth of six fits of one network went from 0.010 to 0.018 in the
order of their evidence. It is known roughly after a few steps, so that fits which are behind are given up early
(successive halving; Jamieson and Talwalkar, AISTATS 2016).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar, final

import numpy as np
from numpy.typing import NDArray

from gradwire_training._jacobian import Residuals, residuals_of
from gradwire_training._objective import Objective
from gradwire_training._progress import Monitor
from gradwire_training.optimizers._bayes import Bayes, suits
from gradwire_training.optimizers._descent import few_threads
from gradwire_training.optimizers._folds import CHOOSING
from gradwire_training.optimizers._posterior import Posterior

Kind = TypeVar("Kind")

FIRST_STEPS: Final = 40  # of every fit; then the most probable half takes as many again, and so on
CHUNK: Final = 5  # of them in turn, so that time ends all of them at the same step
FINALISTS: Final = 3  # with the largest evidence: one of them has it where some rows are held out, too
STARTS: Final = 8  # of one network, at most
FEWEST_STARTS: Final = 2  # rather fewer rows than fewer starts
FEWEST_ROWS: Final = 200  # fewer of many tell little
WORK: Final = 5e10  # multiplications in the first steps of all fits: a few seconds
SECONDS: Final = 0.15  # that a fit is to have, where time is limited: to be built, and for its first estimates
OVERHEAD: Final = 2e7  # as many would be done in the time that any step takes
SLACK: Final = 2.0  # weights for each that some of the rows tell: all of them tell more


@final
@dataclass(frozen=True, slots=True)
class Evidence(Generic[Kind]):
    """Fits by how probable they make the labels.

    Attributes:
        best: networks and which of their initial weights, from 0; that with the largest evidence first.
        fits: how many were compared.
        is_whole: whether on all rows.
    """

    best: tuple[tuple[Kind, int], ...]
    fits: int
    is_whole: bool


@final
@dataclass(slots=True)
class _Run(Generic[Kind]):
    """A fit on its way."""

    kind: Kind
    start: int
    residuals: Residuals
    posterior: Posterior
    steps: int = 0

    @property
    def is_over(self) -> bool:
        return self.posterior.is_settled or self.steps >= Bayes.steps


def most_probable(
    objectives: Mapping[Kind, Objective],
    start: Callable[[Kind, int], NDArray[np.float64]],
    monitor: Monitor,
) -> Evidence[Kind] | None:
    """Fit networks from several initial weights each, and return those with the largest evidence.

    Args:
        objectives: of every network, of the same rows.
        start: returns the trained weights of a network at its n-th start, from 0, in one vector.
        monitor: asked several times a second whether to go on.

    Returns:
        The fits; None where no fit suits or would take too long, where nothing was estimated in time, or where all
        rows would tell more weights than the network has.
    """
    some = sorted((_work(each), kind) for kind, each in objectives.items() if suits(each))
    if not some:
        return None
    # Rather fewer networks than fewer rows: on few rows many weights follow noise.
    whole, most = objectives[some[0][1]], WORK / (FIRST_STEPS * FEWEST_STARTS)
    sums = itertools.accumulate(work for work, _ in some)
    kinds = [kind for (_, kind), work in zip(some, sums, strict=True) if work * whole.count <= most]
    objectives = {kind: objectives[kind] for kind in kinds or [some[0][1]]}
    work = sum(_work(objective) for objective in objectives.values())
    rows = int(min(whole.count, most / work))
    if rows < min(FEWEST_ROWS, whole.count):
        return None
    in_time = monitor.seconds_left / (SECONDS * len(objectives))
    starts = int(np.clip(min(WORK / (FIRST_STEPS * (rows * work + OVERHEAD * len(objectives))), in_time), 1, STARTS))
    taken = np.linspace(0, whole.count - 1, rows).astype(np.int64)
    runs: list[_Run[Kind]] = []
    for kind, objective in objectives.items():
        residuals = residuals_of(objective if rows == whole.count else objective.take(taken, anchors=False))
        for number in range(starts):
            posterior = Bayes().descent(residuals, objective, start(kind, number))
            runs.append(_Run(kind, number, residuals, posterior))
    active, steps, goes_on = runs, FIRST_STEPS, True
    while goes_on and steps < Bayes.steps:
        goes_on = _follow(active, steps, monitor)
        active = sorted(active, key=lambda run: -run.posterior.evidence)
        active, steps = active[: max(FINALISTS, len(active) // 2)], 2 * steps
    if goes_on:
        _follow(active, Bayes.steps, monitor)
        active.sort(key=lambda run: -run.posterior.evidence)
    best, is_whole = active[0], rows == whole.count
    has_slack = is_whole or best.residuals.weights >= SLACK * best.posterior.known
    if math.isinf(best.posterior.evidence) or not has_slack or monitor.status != "completed":
        return None
    return Evidence(tuple((run.kind, run.start) for run in active[:FINALISTS]), len(runs), is_whole)


def _follow(runs: Sequence[_Run[Kind]], steps: int, monitor: Monitor) -> bool:
    """Take steps of all fits in turn, to so many of each at most; return whether there was time for all."""
    while active := [run for run in runs if not run.is_over and run.steps < steps]:
        for run in active:
            with few_threads(run.residuals), np.errstate(over="ignore", invalid="ignore"):
                for _ in range(CHUNK):
                    run.posterior.step()
            run.steps += CHUNK
            if not monitor.goes_on(run.posterior.loss, run.posterior.mae, CHOOSING, share=1.0):
                return False
    return True


def _work(objective: Objective) -> float:
    """Return the number of multiplications in a step, for one row."""
    return float(objective.weight_count) ** 2 * objective.label_count / objective.count
