"""How long Adam should take: as long as rows held out gain by it.

A schedule, whose rate falls along half a cosine to zero, is a fit of its own: one of half the length is not the first
half of it, so that lengths are tried in turn, each twice the one before. With many noisy rows mini-batches learn in
seconds what they have to tell; the noise of the batches, falling with the rate, leads to flat minima (Smith and Le,
arXiv 1710.06451), and a short schedule is a regulariser, as an early stop is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import keras
import numpy as np
import tensorflow as tf
from typing_extensions import override

from gradwire_training._objective import Objective
from gradwire_training._progress import Monitor
from gradwire_training.optimizers._adam import Adam
from gradwire_training.optimizers._folds import CHOOSING, Folds, best_of, weights_of
from gradwire_training.optimizers._steps import Chunks

MANY: Final = 2_000  # rows, from which on mini-batches tell as much in less time
BATCH: Final = 512
RATE: Final = 0.03  # of mini-batches: on 8,192 simulated paths 0.01 came half as far in as many steps
EPOCHS: Final = (25, 50, 100, 200)
STEPS: Final = (2_500, 10_000)  # on all rows
GAIN: Final = 0.02  # of the error: a longer schedule that gains less is the last one
SHARE: Final = 0.6  # of the seconds of a fit, after which no more is spent on choosing


@final
@dataclass(frozen=True, slots=True)
class Schedule:
    """A length of Adam, and the error on rows held out, as ``Stop`` has it.

    Attributes:
        adam: with its rate and its batches.
        steps: of the whole fit.
        error: at its end; of several folds, the geometric mean.
        tried: how many lengths.
    """

    adam: Adam
    steps: int
    error: float
    tried: int


def choose_schedule(folds: Folds, monitor: Monitor, *, steps: int, work: float) -> Schedule | None:
    """Fit some of the rows with schedules of growing length, and measure the others after each.

    Args:
        folds: of the objective, whose variables are left as they are.
        monitor: asked several times a second whether to go on.
        steps: of a fit, at most.
        work: weights times labels times steps at most, of all folds and lengths together.

    Returns:
        The length whose error is smallest; None where none could be taken.
    """
    objective = folds.objective
    adam, lengths = _lengths(objective)
    labels = objective.label_count if adam.batch_size is None else BATCH * objective.label_count / objective.count
    most = work / (objective.weight_count * labels * len(folds.parts))
    before, runs, taken = objective.snapshot(), _Runs(folds, adam), 0.0
    errors: list[float] = []
    try:
        for length in lengths:
            if length > steps or taken + length > most:
                break
            ends = [runs.error(fold, length, monitor, before) for fold in range(len(folds.parts))]
            if not all(ends):
                break
            taken += length
            errors.append(best_of([[end] for end in ends if end is not None])[1][0])
            if len(errors) > 1 and errors[-1] > (1 - GAIN) * min(errors[:-1]):
                break
    finally:
        objective.restore(before)
        runs.close()
    if not errors:
        return None
    best = int(np.argmin(errors))
    return Schedule(adam, lengths[best], errors[best], len(errors))


def _lengths(objective: Objective) -> tuple[Adam, Sequence[int]]:
    """Return Adam as it suits the number of rows, and the lengths to be tried."""
    if objective.count < MANY:
        return Adam(), STEPS
    return Adam(learning_rate=RATE, batch_size=BATCH), [epochs * (objective.count // BATCH) for epochs in EPOCHS]


@final
class _Cosine(keras.optimizers.schedules.LearningRateSchedule):
    """Keras's CosineDecay, whose length is a variable: one compiled program for every length."""

    def __init__(self, rate: float, dtype: str) -> None:
        self._rate = rate
        self.steps = tf.Variable(tf.ones((), dtype), trainable=False)

    @override
    def __call__(self, step: Any) -> Any:
        done = tf.minimum(tf.cast(step, self.steps.dtype) / self.steps, 1.0)
        return self._rate * 0.5 * (1.0 + tf.cos(np.pi * done))

    @override
    def get_config(self) -> dict[str, Any]:
        return {"rate": self._rate}


@final
class _Runs:
    """Fits by Adam of the folds' objective, all by one compiled program."""

    def __init__(self, folds: Folds, adam: Adam) -> None:
        self._folds = folds
        self._batches = folds.objective.batches(adam.batch_size)
        self._rate = _Cosine(adam.learning_rate, folds.objective.dtype)
        rate: Any = self._rate
        self._optimizer = keras.optimizers.Adam(rate)
        self._chunks = Chunks(folds.objective, self._optimizer, self._batches)

    def error(self, fold: int, steps: int, monitor: Monitor, start: Any) -> float | None:
        """Return the error on a fold's rows after so many steps on the others; None where the monitor ended them."""
        objective = self._folds.objective
        objective.restore(start)
        self._folds.hold_out(fold)
        self._rate.steps.assign(float(steps))
        for variable in self._optimizer.variables:
            variable.assign(np.zeros(variable.shape))
        done = 0
        while done < steps:
            losses, maes = self._chunks.take(done, steps - done)
            done += len(losses)
            if not monitor.goes_on(float(losses[-1]), float(maes[-1]), CHOOSING, share=SHARE):
                return None
        error = self._folds.error(fold, weights_of(objective.trainable))
        return error if np.isfinite(error) else None

    def close(self) -> None:
        """Release what reads ahead."""
        if self._batches is not None:
            self._batches.close()
