"""The default optimiser: chooses the one that suits the size of the problem."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import geometric_mean
from typing import ClassVar, Final, final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from gradwire_training._data import shows_noise
from gradwire_training._jacobian import is_swept
from gradwire_training._models import Feature
from gradwire_training._objective import Objective
from gradwire_training._progress import Monitor, percent
from gradwire_training.optimizers._adam import Adam
from gradwire_training.optimizers._bayes import Bayes, held_out_errors, suits
from gradwire_training.optimizers._early_stop import Stop, choose_stop
from gradwire_training.optimizers._folds import COMPARED, Folds, folds_of
from gradwire_training.optimizers._lbfgs import Lbfgs
from gradwire_training.optimizers._lm import Lm, step_work
from gradwire_training.optimizers._optimizer import Optimizer
from gradwire_training.optimizers._ridges import EXACT, FINE, Choice, choose_ridge, error_after
from gradwire_training.optimizers._schedule import Schedule, choose_schedule

MOST_WEIGHTS: Final = 4_000  # of lm: a Cholesky of its matrix takes a second
MOST_WORK: Final = 3e8  # multiplications in a step of lm: some hundredths of a second, and it takes 500 at least
MOST_BAYES_WORK: Final = 1e9  # multiplications in a step of bayes: a tenth of a second, and it takes some hundred
FIT_WORK: Final = 2e10  # multiplications in a whole fit of lm: some seconds
FEWEST_STEPS: Final = 500  # of lm: enough to come near, whatever they take
# Likewise of a step that is worth it for exact labels: of Black-Scholes in five inputs (9e8), 15 seconds of lm leave a
# twelfth of the error that 10 seconds of adam and lbfgs do.
MOST_EXACT_WORK: Final = 2e9
EXACT_FIT_WORK: Final = 3e11  # of the whole fit: some twenty seconds
EXACT_CHOICE_WORK: Final = 2e11  # of all folds, before it
MOST_LABELS: Final = 100_000  # of lbfgs, which evaluates all of them in every step
# Of the steps, and of the time: more of Adam gained nothing, since L-BFGS overtakes it within 100 steps.
ADAM_FRACTION: Final = 2 / 7
CHOICE_WORK: Final = 1.5e11  # of all steps along a path of ridges: some ten seconds
EXACT_WORK: Final = 1e10  # weights times labels times steps of lbfgs, of all folds: by then exact labels are seen
STOP_WORK: Final = 5e10  # likewise, where labels are noisy: some twenty seconds
SCHEDULE_WORK: Final = 3e10  # likewise of adam
COMPILING: Final = 3.0  # seconds: with less time left, other optimisers' programs would be compiled and hardly run
STOP_FRACTION: Final = 1 / 7  # of the steps of a fit that was chosen by size, which lbfgs may try on each fold
MOST_CHOICE_STEPS: Final = 3_000  # of all folds: a second on 19 points
WHOLE: Final = 2.0  # times what bayes takes on a fold: the fit to all rows, and a margin
KNOWN: Final = 2.0  # times the error on fitted rows: where that on others is above it, rows are few rather than noisy
BETTER: Final = 0.95  # of a ridge's error: less of a gain on some of the rows held out is chance as often as not
FEWEST_CHOSEN: Final = 100  # steps of a fit that is worth a choice: shorter ones fit no noise
_OPTIMIZERS: Final[dict[str, type[Optimizer]]] = {kind.name: kind for kind in (Lm, Bayes, Lbfgs, Adam)}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Auto(Optimizer):
    """Levenberg-Marquardt for small problems, Adam and then L-BFGS for larger ones, Adam for large ones.

    With P weights and m labels, ``lm`` is taken where a step's m P min(m, P) multiplications are done in some
    hundredths of a second and P is at most 4,000, and the model has nothing that it does not honour. Otherwise Adam
    takes two sevenths of the steps, since it leaves a flat start where L-BFGS may stay, and L-BFGS the rest, since it
    gains the last digits; but above 100,000 labels, and where one point has several labels that differ (noise, which
    L-BFGS would fit), or the model has what L-BFGS does not honour, Adam takes all. All of it is in float64.

    Where rows held out show noise, they choose instead: for small problems a ridge of ``lm`` or a stop of L-BFGS, for
    others a stop of L-BFGS or a schedule of Adam. Bayesian regularization is taken wherever it predicts them no worse,
    since it has seen all rows, and weighs values and derivatives by their noise. Where a step of ``lm`` takes tenths of
    a second, it is taken if it predicts them better than those do. Where L-BFGS gains from start to end on rows held
    out, it takes all steps.
    """

    name: ClassVar[str] = "auto"
    steps: ClassVar[int] = 7_000  # of adam and lbfgs: 2,000 and 5,000, some four seconds on a small network
    precision: ClassVar[str | None] = "float64"
    honours: ClassVar[frozenset[Feature]] = Adam.honours

    @override
    def steps_for(self, objective: Objective) -> int:
        match _pick(objective)[0]:
            case Lm.name:
                return int(np.clip(FIT_WORK / step_work(objective), FEWEST_STEPS, Lm.steps))
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
        if all(monitor.resumed(name) is None for name in _OPTIMIZERS):
            monitor.selection_reason = f"{picked}: {reason}"
            if monitor.network.get("with_priors") and suits(objective):
                monitor.choice = {
                    "optimizer": Bayes.name,
                    "settings": Bayes().settings(),
                    "steps": min(Bayes.steps, steps),
                }
                monitor.selection_reason = f"{Bayes.name}: as the network was chosen; {_size(objective)}"
            elif steps >= FEWEST_CHOSEN and objective.rows == objective.count:
                longest = max(steps, Adam.steps) if steps == self.steps_for(objective) else steps
                _choose(objective, monitor, longest=longest)
        if monitor.status != "completed":
            return
        if (choice := monitor.choice) is not None:
            optimizer = _OPTIMIZERS[choice["optimizer"]](**choice["settings"])
            monitor.most_steps = choice["steps"] or steps
            optimizer.minimize(objective, monitor, steps=monitor.most_steps)
            return
        match picked:
            case Lm.name:
                Lm().minimize(objective, monitor, steps=steps)
            case Adam.name:
                Adam().minimize(objective, monitor, steps=steps)
            case _:
                first = max(1, round(steps * ADAM_FRACTION))
                if monitor.resumed(Lbfgs.name) is None:
                    with monitor.until(ADAM_FRACTION):
                        Adam().minimize(objective, monitor, steps=first)
                if monitor.status == "completed" and not monitor.time_was_up and first < steps:
                    Lbfgs().minimize(objective, monitor, steps=steps - first)


@final
@dataclass(frozen=True, slots=True)
class _Candidate:
    """A way to fit, and how well it predicts rows held out."""

    optimizer: Optimizer
    steps: int | None  # None leaves them to the fit
    error: float
    first: str  # what is said of it where it is the best
    other: str  # and where another is
    is_stopped: bool = True  # where rows held out say, whose errors are chance in part
    is_exact: bool = False  # whether labels look exact


def _choose(objective: Objective, monitor: Monitor, *, longest: int) -> None:
    """Choose by rows held out how to fit noisy labels, and say why; leave exact ones to the choice by size."""
    if objective.features.why_not(Lbfgs.honours) is not None:
        return
    objective.hold(resumed=False)
    candidates: list[_Candidate] = []
    if _may_follow(objective):
        most = int(min(CHOICE_WORK / step_work(objective), MOST_CHOICE_STEPS))
        choice = choose_ridge(objective, monitor, damping=Lm().damping, steps=most)
        if choice is None:
            return
        if choice.ridge is None:
            _choose_without_ridge(objective, monitor, choice, longest=longest)
            return
        parts, rows, is_noisy = choice.parts, choice.rows, not choice.is_cut
        candidates.append(_with_ridge(choice))
    else:
        is_noisy = False
        parts, rows = folds_of(objective)
        parts = parts[:COMPARED]
    if monitor.seconds_left < COMPILING:
        if not candidates or not is_noisy:
            monitor.selection_reason += "; there is no time to tell how noisy the labels are"
            return
    elif parts and not _compare(objective, monitor, candidates, parts, longest, is_noisy=is_noisy):
        return
    if not candidates:
        return
    is_noisy = min(each.error for each in candidates) > FINE and not any(each.is_exact for each in candidates)
    if is_noisy and (bayes := _with_priors(objective, monitor, parts, longest=longest)) is not None:
        candidates.insert(0, bayes)
    least = min(candidate.error for candidate in candidates)
    # What sees all rows comes first: priors, then a ridge that was measured on every fold.
    best = next(each for each in candidates if each.error <= (least if each.is_stopped else least / BETTER))
    others = [candidate.other for candidate in candidates if candidate is not best]
    _take(objective, monitor, best, others, rows=rows)


def _choose_without_ridge(objective: Objective, monitor: Monitor, choice: Choice, *, longest: int) -> None:
    """Leave lm as it is where labels look exact, or nothing is better for those that are nearly so; say why."""
    if choice.error > FINE:
        bayes = _with_priors(objective, monitor, choice.parts, longest=longest)
        if bayes is not None and bayes.error < BETTER * choice.beside:
            _take(
                objective, monitor, bayes, [f"{Lm.name} without a ridge to {percent(choice.beside)}"], rows=choice.rows
            )
            return
    what = "rows held out are predicted nearly as well as fitted ones" if _noise(choice) else "no noise is seen"
    monitor.selection_reason += (
        f"; {what}: none of {choice.tried} ridges helps, and fits with next to none predict {choice.rows} to "
        f"{percent(choice.error)} of the labels' spread"
    )


def _take(objective: Objective, monitor: Monitor, best: _Candidate, others: Sequence[str], *, rows: str) -> None:
    """Leave the fit to a candidate, and say so, with what was measured of the others."""
    monitor.choice = {"optimizer": best.optimizer.name, "settings": best.optimizer.settings(), "steps": best.steps}
    error, beside = f"to {percent(best.error)} of the labels' spread", f" ({', '.join(others)})" if others else ""
    monitor.selection_reason = f"{best.first.format(rows=rows, error=error)}{beside}; {_size(objective)}"


def _compare(
    objective: Objective,
    monitor: Monitor,
    candidates: list[_Candidate],
    parts: Sequence[NDArray[np.bool_]],
    longest: int,
    *,
    is_noisy: bool,
) -> bool:
    """Add other candidates, measured on some folds; return whether labels are noisy, where L-BFGS is to tell."""
    folds, first = Folds(objective, parts), not candidates
    step_work = objective.weight_count * objective.label_count * len(parts)
    most = int(min(STOP_WORK / step_work, Lbfgs.steps, longest))
    steps = int(min(EXACT_WORK / step_work, longest * STOP_FRACTION, most))
    exact = _measured_exactly(objective, monitor, parts) if first else None
    has_schedule = first and not objective.has_two_forms
    others = len(parts) if has_schedule else 0
    stop = choose_stop(folds, monitor, steps=most if is_noisy else steps, most=most, others=others)
    if exact is not None and stop is None:
        candidates.append(exact)
    if stop is not None:
        if exact is not None and exact.error < BETTER * stop.error:
            candidates += [exact, _stopped(stop)]
            return True
        if not is_noisy and (stop.is_falling or stop.fitted < EXACT * stop.error):
            if not candidates or stop.error < BETTER * candidates[0].error:
                candidates[:] = [_unstopped(stop, candidates, min(longest, Lbfgs.steps))]
                return True
            monitor.selection_reason += (
                f"; no noise is seen in {stop.steps:,} steps of {Lbfgs.name} on some of the rows"
            )
            return False
        candidates.append(_stopped(stop))
    if has_schedule and (schedule := choose_schedule(folds, monitor, steps=longest, work=SCHEDULE_WORK)) is not None:
        candidates.append(_scheduled(schedule))
    return True


def _measured_exactly(objective: Objective, monitor: Monitor, parts: Sequence[NDArray[np.bool_]]) -> _Candidate | None:
    """Measure lm without a ridge, as it suits exact labels, where its steps can be afforded."""
    if not _affords_lm(objective, MOST_EXACT_WORK):
        return None
    work = step_work(objective)
    steps = int(min(EXACT_CHOICE_WORK / work / len(parts), Lm.steps))
    error = error_after(steps, parts, objective, monitor, damping=Lm().damping)
    if error is None:
        return None
    first = f"{Lm.name}: after {steps:,} steps it predicts {{rows}} best, {{error}}"
    other = f"{Lm.name} after {steps:,} steps to {percent(error)}"
    return _Candidate(Lm(), int(min(EXACT_FIT_WORK / work, Lm.steps)), error, first, other)


def _with_ridge(choice: Choice) -> _Candidate:
    assert choice.ridge is not None  # noqa: S101 - for the type checker: the caller has looked
    first = (
        f"{Lm.name} with a ridge of {choice.ridge:.2g}: of {choice.tried} ridges it predicts {{rows}} best, {{error}}, and "
        f"meets the fitted ones to {percent(choice.fitted)}{_noise(choice)}"
    )
    other = f"{Lm.name} with the best of {choice.tried} ridges to {percent(choice.beside)}"
    return _Candidate(Lm(ridge=choice.ridge), None, choice.beside, first, other, is_stopped=False)


def _with_priors(
    objective: Objective, monitor: Monitor, parts: Sequence[NDArray[np.bool_]], *, longest: int
) -> _Candidate | None:
    """Measure Bayesian regularization on some folds, on all where there are none; None where it does not suit."""
    if not suits(objective) or step_work(objective) > MOST_BAYES_WORK:
        return None
    errors = held_out_errors([objective], monitor, parts or folds_of(objective)[0], more=WHOLE)
    if errors is None:
        return None
    error = geometric_mean(errors)
    first = f"{Bayes.name}: with priors and noise as the labels tell them it predicts {{rows}} {{error}}"
    other = f"{Bayes.name} to {percent(error)}"
    return _Candidate(Bayes(), min(Bayes.steps, longest), error, first, other, is_stopped=False)


def _stopped(stop: Stop) -> _Candidate:
    first = f"{Lbfgs.name}, {stop.steps:,} steps: it predicts {{rows}} best where it stops there, {{error}}"
    return _Candidate(
        Lbfgs(), stop.steps, stop.error, first, f"{Lbfgs.name}, stopped in time, to {percent(stop.error)}"
    )


def _unstopped(stop: Stop, beaten: Sequence[_Candidate], steps: int) -> _Candidate:
    first = f"{Lbfgs.name}: in the first {stop.steps:,} steps it predicts {{rows}} {{error}} without a sign of noise"
    than = "".join(f" (better than {each.other})" for each in beaten)
    return _Candidate(Lbfgs(), steps, stop.error, first + than, "", is_exact=True)


def _scheduled(schedule: Schedule) -> _Candidate:
    size = schedule.adam.batch_size
    batches = "" if size is None else f" of {size:,} rows"
    first = f"{Adam.name}, {schedule.steps:,} steps{batches}: of {schedule.tried} lengths it predicts {{rows}} best, {{error}}"
    other = f"{Adam.name}, {schedule.steps:,} steps, to {percent(schedule.error)}"
    return _Candidate(schedule.adam, schedule.steps, schedule.error, first, other)


def _noise(choice: Choice) -> str:
    """Say how large the labels' noise is, where the errors tell: below that on rows held out, above the other."""
    if choice.error > KNOWN * choice.fitted:
        return ""
    return f", so that their noise is some {percent(math.sqrt(choice.error * choice.fitted))}"


def _may_follow(objective: Objective) -> bool:
    """Return whether a path of ridges can be followed, and in some seconds."""
    return _affords_lm(objective, MOST_WORK)


def _affords_lm(objective: Objective, work: float) -> bool:
    """Return whether lm fits the model, by sweeps, and a step takes at most so many multiplications."""
    is_small = objective.weight_count <= MOST_WEIGHTS and step_work(objective) <= work
    return is_small and objective.features.why_not(Lm.honours) is None and is_swept(objective)


def _pick(objective: Objective) -> tuple[str, str]:
    """Return the chosen optimiser, or the two, and the reason."""
    weights, labels, size = objective.weight_count, objective.label_count, _size(objective)
    if objective.rows > objective.count:
        return Adam.name, f"{objective.rows:,} rows are read in parts"
    if (why_not := objective.features.why_not(Lbfgs.honours)) is not None:
        return Adam.name, why_not
    both = f"{Adam.name}, then {Lbfgs.name}"
    if weights <= MOST_WEIGHTS and step_work(objective) <= MOST_WORK:
        why_not = objective.features.why_not(Lm.honours)
        return (Lm.name, f"{size}, few enough for it") if why_not is None else (both, why_not)
    if labels > MOST_LABELS:
        return Adam.name, f"{size}, too many for second-order steps"
    if shows_noise(objective.x, objective.known):
        return Adam.name, f"{size}, too many for {Lm.name}; points with several labels show noise"
    return both, f"{size}, too many for {Lm.name}"


def _size(objective: Objective) -> str:
    return f"{objective.weight_count:,} weights and {objective.label_count:,} labels"
