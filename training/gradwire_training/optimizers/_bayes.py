"""Levenberg-Marquardt under priors and noise that the labels themselves tell: Bayesian regularization."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from gradwire._errors import UsageError
from gradwire_training._jacobian import Residuals, is_swept, residuals_of
from gradwire_training._models import Feature
from gradwire_training._objective import Objective
from gradwire_training._progress import Monitor
from gradwire_training.optimizers._descent import few_threads
from gradwire_training.optimizers._folds import CHOOSING, Folds, weights_of
from gradwire_training.optimizers._lm import Lm, step_work
from gradwire_training.optimizers._optimizer import Optimizer
from gradwire_training.optimizers._posterior import Posterior, groups_of
from gradwire_training.optimizers._reporting import Reporter

MOST_WEIGHTS: Final = 1_000  # a step takes tenths of a second
MOST_BYTES: Final = 256 * 2**20  # of all of them
REFUSED_BYTES: Final = 4 * 2**30  # likewise, where the caller chose it
FOLD_WORK: Final = 2e10  # multiplications in the fit of one fold: a few seconds
RANDOM_STREAM: Final = 6  # of random numbers, apart from those of points, weights and folds


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Bayes(Optimizer):
    """Bayesian regularization (MacKay 1992; Foresee and Hagan, IJCNN 1997), for noisy labels and few weights.

    Steps of Levenberg-Marquardt lead to the most probable weights, under Gaussian noise in every term of the loss and a
    Gaussian prior of what leaves every unit. How strong these are is estimated on the way from all rows
    (``_posterior.py``); nothing is held out. The relative weight of values and derivatives follows from their noise:
    that of the loss has no effect. The history's loss may rise, where a unit is found to be of no use.

    Attributes:
        damping: at the start, in units of the mean of the equations' diagonal.
    """

    name: ClassVar[str] = "bayes"
    steps: ClassVar[int] = 400
    precision: ClassVar[str | None] = "float64"
    honours: ClassVar[frozenset[Feature]] = Lm.honours
    damping: float = 1e-3

    @override
    def minimize(self, objective: Objective, monitor: Monitor, *, steps: int) -> None:
        _require_suitable(objective)
        objective.hold(resumed=monitor.resumed(self.name) is not None)
        residuals = residuals_of(objective)
        with few_threads(residuals), np.errstate(over="ignore", invalid="ignore"):
            posterior = self.descent(residuals, objective, weights_of(objective.trainable))
            reporter = Reporter(objective, monitor, self.name, posterior.state)
            if reporter.resumed is not None:  # the model has its weights already
                posterior.resume(reporter.resumed)
            while reporter.done < steps and not posterior.is_settled:
                posterior.step()
                if not reporter.step(posterior.point, posterior.loss, posterior.mae, xla=residuals.xla):
                    return
            reporter.finish(posterior.best, xla=residuals.xla)

    def descent(self, residuals: Residuals, objective: Objective, point: NDArray[np.float64]) -> Posterior:
        """Return the descent of a fit to some of an objective's residuals."""
        return Posterior(residuals, point, groups_of(objective.trainable), damping=self.damping)


def suits(objective: Objective) -> bool:
    """Return whether auto may take it: sweeps give the Jacobian, and a step's matrices are small."""
    is_small = objective.weight_count <= MOST_WEIGHTS and _bytes_of(objective) <= MOST_BYTES
    is_plain = not objective.anchors and objective.features.why_not(Bayes.honours) is None
    return is_small and is_plain and is_swept(objective)


def _require_suitable(objective: Objective) -> None:
    if objective.anchors:
        raise UsageError(
            f"{Bayes.name} estimates how noisy labels are, and the loss pins {objective.anchors:,} values as exact: use lm or lbfgs"
        )
    if (size := _bytes_of(objective)) > REFUSED_BYTES:
        raise UsageError(
            f"{objective.weight_count:,} weights are too many for {Bayes.name}, which keeps a matrix of them for each of the "
            f"loss's {len(objective.terms):,} terms, {size / 2**30:,.1f} GiB in all: use lbfgs or adam"
        )


def _bytes_of(objective: Objective) -> int:
    """Return how much the matrices of a step take, one for every term."""
    return 8 * len(objective.terms) * objective.weight_count**2


def held_out_errors(
    objectives: Sequence[Objective], monitor: Monitor, parts: Sequence[NDArray[np.bool_]], *, more: float = 0.0
) -> tuple[float, ...] | None:
    """Fit the rows that each fold leaves, or some of many, and measure those it holds out.

    Args:
        objectives: of all rows, of one network or several; their variables are left as they are. The fit with the
            largest evidence is measured on each fold.
        monitor: asked several times a second whether to go on.
        parts: which rows each fold holds out.
        more: how many times as long as one fit what comes after takes, for which time is left.

    Returns:
        The root mean squares of the folds as fractions of the labels' spread: of the first ones where the monitor ended
        it, None where that was before any.
    """
    generator = np.random.default_rng(RANDOM_STREAM)
    errors = list[float]()
    share = monitor.share_for(1, more / len(objectives) / len(parts))
    measures = [Folds(objective, parts) for objective in objectives]
    for number, part in enumerate(parts):
        evidences, ends = list[float](), list[float]()
        for objective, folds in zip(objectives, measures, strict=True):
            rows = np.flatnonzero(~part)
            most = int(FOLD_WORK / (Bayes.steps * step_work(objective)) * objective.count)
            if len(rows) > most:
                rows = np.sort(generator.choice(rows, max(most, 1), replace=False))
            posterior = _followed(objective.take(rows, anchors=True), monitor, share=share)
            if posterior is None:
                return tuple(errors) or None
            ends.append(folds.error(number, posterior.best))
            evidences.append(posterior.evidence)
        errors.append(ends[int(np.argmax(evidences))])
    return tuple(errors)


def _followed(objective: Objective, monitor: Monitor, *, share: float) -> Posterior | None:
    """Return the end of a fit; None where the monitor ended it."""
    residuals = residuals_of(objective)
    posterior = Bayes().descent(residuals, objective, weights_of(objective.trainable))
    with few_threads(residuals), np.errstate(over="ignore", invalid="ignore"):
        for _ in range(Bayes.steps):
            if posterior.is_settled:
                break
            posterior.step()
            if not monitor.goes_on(posterior.loss, posterior.mae, CHOOSING, share=share):
                return None
    return posterior
