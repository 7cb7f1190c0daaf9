"""The default optimiser: chooses the one that suits the size of the problem."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final, final

import numpy as np
from typing_extensions import override

from gradwire_training._data import shows_noise
from gradwire_training._models import Feature
from gradwire_training._objective import Objective
from gradwire_training._progress import Monitor
from gradwire_training.optimizers._adam import Adam
from gradwire_training.optimizers._lbfgs import Lbfgs
from gradwire_training.optimizers._lm import Lm
from gradwire_training.optimizers._optimizer import Optimizer

MOST_WEIGHTS: Final = 4_000  # of lm: a Cholesky of its matrix takes a second
MOST_WORK: Final = 3e8  # multiplications in a step of lm: some hundredths of a second, and it takes 500 at least
FIT_WORK: Final = 2e10  # multiplications in a whole fit of lm: some seconds
FEWEST_STEPS: Final = 500  # of lm: enough to come near, whatever they take
MOST_LABELS: Final = 100_000  # of lbfgs, which evaluates all of them in every step
# Of the steps: more of Adam gained nothing, since L-BFGS overtakes it within 100 steps.
ADAM_FRACTION: Final = 2 / 7


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
        monitor.selection_reason = f"{picked}: {reason}"
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


def _pick(objective: Objective) -> tuple[str, str]:
    """Return the chosen optimiser, or the two, and the reason."""
    weights, labels = objective.weight_count, objective.label_count
    size = f"{weights:,} weights and {labels:,} labels"
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


def _work(objective: Objective) -> float:
    """Return the number of multiplications in a step of lm."""
    weights, labels = objective.weight_count, objective.label_count
    return float(weights) * labels * min(weights, labels)
