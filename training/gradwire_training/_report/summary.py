"""What came of a fit, as a few numbers and lines: the command prints them, and the page holds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np

from gradwire_training._report.comparison import Comparison

if TYPE_CHECKING:
    from gradwire_training._fit import Result


@final
@dataclass(frozen=True, slots=True)
class Phase:
    """Steps that one optimiser took in a row.

    Attributes:
        optimizer: its name.
        steps: how many.
        before: the loss at the first of them.
        after: the loss at the last.
    """

    optimizer: str
    steps: int
    before: float
    after: float

    def __str__(self) -> str:
        return f"{self.optimizer} {self.steps:,} steps, loss {self.before:.3g} to {self.after:.3g}"


@final
@dataclass(frozen=True, slots=True)
class TensorError:
    """How far an output or a derivative is from the truth.

    Attributes:
        name: in a package.
        unit: physical unit; None where unknown.
        max: the largest error; None where an answer is not finite.
        rmse: the root of the mean square error; None as above.
        relative: the rmse as a share of the truth's standard deviation; None as above.
    """

    name: str
    unit: str | None
    max: float | None
    rmse: float | None
    relative: float | None


@final
@dataclass(frozen=True, slots=True)
class Summary:
    """What came of a fit.

    Attributes:
        message: the status in a sentence.
        choice: what ``auto`` picked and why; empty where the optimiser was the caller's choice.
        seconds: that the fit took.
        against: what the errors are measured against, in words.
        points: on how many points.
        errors: of outputs first, then of derivatives.
        phases: the optimisers that were at work, in order.
    """

    message: str
    choice: str
    seconds: float
    against: str
    points: int
    errors: tuple[TensorError, ...]
    phases: tuple[Phase, ...]


def summarize(result: Result, comparison: Comparison | None = None) -> Summary:
    """Sums up a fit.

    Args:
        result: of a fit.
        comparison: of the result, where there is one already; it is computed otherwise.
    """
    comparison = Comparison.of(result) if comparison is None else comparison
    return Summary(
        message=result.message,
        choice=result.story,
        seconds=result.seconds,
        against=comparison.against,
        points=len(next(iter(comparison.x.values()))),
        errors=tuple(
            TensorError(pair.name, pair.unit, pair.max, pair.rmse, pair.relative) for pair in comparison.pairs
        ),
        phases=_phases(result),
    )


def _phases(result: Result) -> tuple[Phase, ...]:
    names, losses = result.history["optimizer"], result.history["loss"]
    if not len(names):
        return ()
    starts = [0, *(np.nonzero(names[1:] != names[:-1])[0] + 1)]
    ends = [*starts[1:], len(names)]
    return tuple(
        Phase(str(names[begin]), int(end - begin), float(losses[begin]), float(losses[end - 1]))
        for begin, end in zip(starts, ends, strict=True)
    )
