"""How the error of a fit falls with the number of samples, with derivatives and without."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from gradwire._errors import UsageError
from gradwire_training._fit import DTYPE, fit
from gradwire_training._report.learning_curve import LOSSES, Measure, Study, Trial
from gradwire_training.optimizers._auto import Auto

if TYPE_CHECKING:
    from gradwire_training._fit import Result
    from gradwire_training.optimizers._optimizer import Optimizer
    from gradwire_training.problems._problem import Problem

AUTO: Final = Auto.name
SEEDS: Final = 3  # a median and a range are the least that a claim needs

Callback: TypeAlias = Callable[[int, int, str], None]  # fits done, fits in all, what is fitted next


def study(
    problem: Problem,
    *,
    samples: Sequence[int],
    losses: Sequence[str] = LOSSES,
    seeds: int = SEEDS,
    spacing: str | None = None,
    measure: Measure | None = None,
    optimizer: str | Optimizer = AUTO,
    dtype: str = DTYPE,
    steps: int | None = None,
    seconds: float | None = None,
    callback: Callback | None = None,
) -> Study:
    """Fits a problem to several numbers of samples, with derivatives and without, from several seeds.

    Args:
        problem: what is fitted.
        samples: numbers of samples.
        losses: names, of those that the problem has.
        seeds: how many fits of each kind: seeds 0, 1, …
        spacing: of the samples; the problem's own by default.
        measure: ``"max"`` or ``"rmse"``: by default the largest error of a curve, the rmse of anything else.
        optimizer: of every fit; ``"auto"`` is what suits the problem.
        dtype: of the fitted models.
        steps: of every fit, at most; the optimiser's own number by default.
        seconds: of every fit, at most; no limit by default.
        callback: called before each fit.

    Returns:
        The study.

    Raises:
        UsageError: no samples, no seeds, or anything that ``fit`` or the problem refuses.
    """
    if not samples or min(samples) < 1 or seeds < 1:
        raise UsageError(f"samples {list(samples)} and {seeds} seeds, expected 1 or more of each")
    plan = [(count, loss, seed) for count in sorted(set(samples)) for loss in losses for seed in range(seeds)]
    trials: list[Trial] = []
    for done, (count, loss, seed) in enumerate(plan):
        if callback is not None:
            callback(done, len(plan), f"{loss}, {count} samples, seed {seed}")
        points = problem.samples(count, spacing=spacing, seed=seed)
        result = fit(
            problem.network(seed=seed, samples=points),
            points,
            loss=problem.loss(loss),
            optimizer=problem.optimizer(count) if optimizer == AUTO else optimizer,
            steps=problem.steps if optimizer == AUTO and steps is None else steps,
            seconds=seconds,
            seed=seed,
            dtype=dtype,
        )
        if result.status == "interrupted":
            raise KeyboardInterrupt
        trials.append(_trial(loss, count, seed, result))
    limits = {"steps": steps, "seconds": seconds}
    return Study(
        problem=problem.name,
        formula=problem.truth.formula,
        measure=measure or ("max" if problem.truth.is_curve else "rmse"),
        settings={
            "optimizer": optimizer if isinstance(optimizer, str) else optimizer.name,
            "dtype": dtype,
            "seeds": seeds,
            "spacing": spacing or problem.spacing,
            **{name: limit for name, limit in limits.items() if limit is not None},
        },
        trials=tuple(trials),
    )


def _trial(loss: str, samples: int, seed: int, result: Result) -> Trial:
    errors = {name: entry for name, entry in result.errors.items() if isinstance(entry, dict)}
    return Trial(loss, samples, seed, result.seconds, result.status, errors)
