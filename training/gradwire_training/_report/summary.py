"""A fit in a few numbers and lines, for the command and the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, final

import numpy as np

from gradwire_training._fit import Comparison, Result, TensorComparison, Unmeasured

SECOND: Final = "second derivatives: never labelled, no error of them is known"
VALUES_ALONE: Final = (
    "fitted to values alone: the derivatives are those of the fitted function, and no label of them was fitted"
)


@final
@dataclass(frozen=True, slots=True)
class Phase:
    """Steps that one optimiser took in a row, and the loss at the first and at the last of them."""

    optimizer: str
    steps: int
    before: float
    after: float

    def __str__(self) -> str:
        return f"{self.optimizer} {self.steps:,} steps, loss {self.before:.3g} to {self.after:.3g}"


@final
@dataclass(frozen=True, slots=True)
class Summary:
    """The outcome of a fit in a few numbers.

    Attributes:
        message: the status in a sentence.
        choice: what ``auto`` picked and why; empty where the caller chose the optimiser.
        seconds: that the fit took.
        against: what the errors are measured against, as text.
        points: on how many points.
        errors: of outputs first, then of derivatives, by their aliases where they have some: each with ``name``,
            ``unit``, ``max``, ``rmse``, ``relative``, ``training_rmse`` and ``labels``.
        unmeasured: derivatives that have no error, for no label of them is known there.
        notes: what to bear in mind with the errors, a line each.
        phases: the optimisers that were at work, in order.
    """

    message: str
    choice: str
    seconds: float
    against: str
    points: int
    errors: tuple[TensorComparison, ...]
    unmeasured: tuple[Unmeasured, ...]
    notes: tuple[str, ...]
    phases: tuple[Phase, ...]


def summarize(result: Result) -> Summary:
    """Summarise a fit.

    Args:
        result: of a fit.
    """
    comparison = result.comparison.by_alias()
    return Summary(
        message=result.message,
        choice=result.selection_reason,
        seconds=result.seconds,
        against=comparison.against,
        points=comparison.points,
        errors=tuple(tensor for tensor in comparison.tensors if tensor.kind != "directional"),
        unmeasured=comparison.unmeasured,
        notes=(*result.notes, *_notes(comparison)),
        phases=phases_of(result),
    )


def _notes(comparison: Comparison) -> tuple[str, ...]:
    return (VALUES_ALONE, SECOND) if comparison.is_of_values_alone else (SECOND,)


def phases_of(result: Result) -> tuple[Phase, ...]:
    """Return the optimisers that were at work, in order."""
    names, losses = result.history["optimizer"], result.history["loss"]
    if not len(names):
        return ()
    starts = [0, *(np.nonzero(names[1:] != names[:-1])[0] + 1)]
    ends = [*starts[1:], len(names)]
    return tuple(
        Phase(str(names[begin]), int(end - begin), float(losses[begin]), float(losses[end - 1]))
        for begin, end in zip(starts, ends, strict=True)
    )
