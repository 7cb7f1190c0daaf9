"""The default optimiser: chooses the one that suits the size of the problem."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Final, final

import numpy as np
from typing_extensions import override

from gradwire_training._data import shows_noise
from gradwire_training._jacobian import is_swept
from gradwire_training._models import Feature
from gradwire_training._objective import Objective
from gradwire_training._progress import Monitor, percent
from gradwire_training.optimizers._adam import Adam
from gradwire_training.optimizers._early_stop import choose_stop
from gradwire_training.optimizers._lbfgs import Lbfgs
from gradwire_training.optimizers._lm import Lm
from gradwire_training.optimizers._optimizer import Optimizer
from gradwire_training.optimizers._ridges import Choice, choose_ridge

MOST_WEIGHTS: Final = 4_000  # of lm: a Cholesky of its matrix takes a second
MOST_WORK: Final = 3e8  # multiplications in a step of lm: some hundredths of a second, and it takes 500 at least
FIT_WORK: Final = 2e10  # multiplications in a whole fit of lm: some seconds
FEWEST_STEPS: Final = 500  # of lm: enough to come near, whatever they take
MOST_LABELS: Final = 100_000  # of lbfgs, which evaluates all of them in every step
# Of the steps: more of Adam gained nothing, since L-BFGS overtakes it within 100 steps.
ADAM_FRACTION: Final = 2 / 7
# Of a step along a path of ridges, and of all steps along the path that chooses one: some twenty seconds.
MOST_PATH_WORK: Final = 2e10
CHOICE_WORK: Final = 5e11
STOP_WORK: Final = 1e10  # weights times labels times steps of lbfgs: some ten seconds
MOST_CHOICE_STEPS: Final = 3_000  # of all folds: a second on 19 points
KNOWN: Final = 2.0  # times the error on fitted rows: where that on others is above it, rows are few rather than noisy
FEWEST_CHOSEN: Final = 100  # steps of a fit that is worth a choice: shorter ones fit no noise


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Auto(Optimizer):
    """Levenberg-Marquardt for small problems, Adam and then L-BFGS for larger ones, Adam for large ones.

    With P weights and m labels, ``lm`` is taken where a step's m P min(m, P) multiplications are done in some
    hundredths of a second and P is at most 4,000, and the model has nothing that it does not honour; its ridge holds
    against noise. Otherwise Adam takes two sevenths of the steps, since it leaves a flat start where
    L-BFGS may stay, and L-BFGS the rest, since it gains the last digits; but above 100,000 labels, and where one
    point has several labels that differ (noise, which L-BFGS would fit), or the model has what L-BFGS does not honour,
    Adam takes all. All of it is in float64.
    """

    name: ClassVar[str] = "auto"
    steps: ClassVar[int] = 7_000  # of adam and lbfgs: 2,000 and 5,000, some four seconds on a small network
    precision: ClassVar[str | None] = "float64"
    honours: ClassVar[frozenset[Feature]] = Adam.honours

    @override
    def steps_for(self, objective: Objective) -> int:
        match _pick(objective)[0]:
            case Lm.name:
                return int(np.clip(FIT_WORK / _work(objective), FEWEST_STEPS, Lm.steps))
            case Adam.name:
                return Adam.steps
            case _:
                return self.steps

    @override
    def for_stream(self) -> Optimizer:
        return Adam()

    @override
    def minimize(self, objective: Objective, monitor: Monitor, *, steps: int) -> None:
        picked, reason = _pick(objective)
        if all(monitor.resumed(optimizer.name) is None for optimizer in (Lm, Adam, Lbfgs)):
            monitor.selection_reason = f"{picked}: {reason}"
            if steps >= FEWEST_CHOSEN and _may_follow(objective):
                _choose(objective, monitor, longest=steps)
        if monitor.status != "completed":
            return
        if monitor.choice is not None:
            if "ridge" in monitor.choice:
                Lm(ridge=monitor.choice["ridge"]).minimize(objective, monitor, steps=steps)
            else:
                Lbfgs().minimize(objective, monitor, steps=min(steps, monitor.choice["steps"]))
            return
        match picked:
            case Lm.name:
                Lm().minimize(objective, monitor, steps=steps)
            case Adam.name:
                Adam().minimize(objective, monitor, steps=steps)
            case _:
                first = max(1, round(steps * ADAM_FRACTION))
                if monitor.resumed(Lbfgs.name) is None:
                    Adam().minimize(objective, monitor, steps=first)
                if monitor.status == "completed" and not monitor.time_was_up and first < steps:
                    Lbfgs().minimize(objective, monitor, steps=steps - first)


def _choose(objective: Objective, monitor: Monitor, *, longest: int) -> None:
    """Choose by rows held out how to fit noisy labels, and say why; leave exact ones to the choice by size."""
    objective.hold(resumed=False)
    most = int(min(CHOICE_WORK / _work(objective), MOST_CHOICE_STEPS))
    choice = choose_ridge(objective, monitor, damping=Lm().damping, steps=most)
    if choice is None:
        return
    if choice.ridge is None:
        what = "rows held out are predicted nearly as well as fitted ones" if _noise(choice) else "no noise is seen"
        monitor.selection_reason += (
            f"; {what}: none of {choice.tried} ridges helps, and fits without one predict {choice.rows} to "
            f"{percent(choice.error)} of the labels' spread"
        )
        return
    stop = None
    if choice.parts and objective.features.why_not(Lbfgs.honours) is None:
        most = int(min(STOP_WORK / (objective.weight_count * objective.label_count), Lbfgs.steps, longest))
        stop = choose_stop(objective, monitor, choice.parts, steps=most)
    if stop is not None and stop.error < choice.beside:
        monitor.choice = {"steps": stop.steps}
        monitor.selection_reason = (
            f"{Lbfgs.name}, {stop.steps:,} steps: it predicts {choice.rows} best where it stops there, to "
            f"{percent(stop.error)} of the labels' spread, and {Lm.name} with the best of {choice.tried} ridges to "
            f"{percent(choice.beside)}; {_size(objective)}"
        )
        return
    monitor.choice = {"ridge": choice.ridge}
    beside = "" if stop is None else f" ({Lbfgs.name}, stopped in time, to {percent(stop.error)})"
    monitor.selection_reason = (
        f"{Lm.name} with a ridge of {choice.ridge:.2g}: of {choice.tried} ridges it predicts {choice.rows} best, to "
        f"{percent(choice.error)} of the labels' spread{beside}, and meets the fitted ones to {percent(choice.fitted)}"
        f"{_noise(choice)}; {_size(objective)}"
    )


def _noise(choice: Choice) -> str:
    """Say how large the labels' noise is, where the errors tell: below that on rows held out, above the other."""
    if choice.error > KNOWN * choice.fitted:
        return ""
    return f", so that their noise is some {percent(math.sqrt(choice.error * choice.fitted))}"


def _may_follow(objective: Objective) -> bool:
    """Return whether a path of ridges can be followed, and in a minute."""
    is_small = objective.weight_count <= MOST_WEIGHTS and _work(objective) <= MOST_PATH_WORK
    in_memory = objective.rows == objective.count
    return is_small and in_memory and objective.features.why_not(Lm.honours) is None and is_swept(objective)


def _pick(objective: Objective) -> tuple[str, str]:
    """Return the chosen optimiser, or the two, and the reason."""
    weights, labels, size = objective.weight_count, objective.label_count, _size(objective)
    if objective.rows > objective.count:
        return Adam.name, f"{objective.rows:,} rows are read in parts"
    if (why_not := objective.features.why_not(Lbfgs.honours)) is not None:
        return Adam.name, why_not
    both = f"{Adam.name}, then {Lbfgs.name}"
    if weights <= MOST_WEIGHTS and _work(objective) <= MOST_WORK:
        why_not = objective.features.why_not(Lm.honours)
        return (Lm.name, f"{size}, few enough for it") if why_not is None else (both, why_not)
    if labels > MOST_LABELS:
        return Adam.name, f"{size}, too many for second-order steps"
    if shows_noise(objective.x, objective.known):
        return Adam.name, f"{size}, too many for {Lm.name}; points with several labels show noise"
    return both, f"{size}, too many for {Lm.name}"


def _size(objective: Objective) -> str:
    return f"{objective.weight_count:,} weights and {objective.label_count:,} labels"


def _work(objective: Objective) -> float:
    """Return the number of multiplications in a step of lm."""
    weights, labels = objective.weight_count, objective.label_count
    return float(weights) * labels * min(weights, labels)
