"""A fit in a few numbers and lines, for the command and the page."""

from __future__ import annotations

from collections.abc import Iterator
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
class Change:
    """The rmse of a tensor before and after a fit that started from an earlier one, on the same rows."""

    name: str
    unit: str | None
    before: float | None
    after: float | None

    @property
    def ratio(self) -> float | None:
        """After / before; None where one is not known, or the first is 0."""
        return self.after / self.before if self.after is not None and self.before else None


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
        origin: where the model was from that the fit started from; empty for a new one.
        changes: the errors of that model and of the new one, on the same rows.
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
    origin: str = ""
    changes: tuple[Change, ...] = ()


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
        origin="" if result.origin is None else result.origin["source"],
        changes=tuple(_changes(result)),
    )


def _changes(result: Result) -> Iterator[Change]:
    before = () if result.before is None else result.before.by_alias().tensors
    after = {tensor.name: tensor.rmse for tensor in result.comparison.by_alias().tensors}
    for tensor in before:
        if tensor.kind != "directional" and tensor.errors.size:
            yield Change(tensor.name, tensor.unit, tensor.rmse, after.get(tensor.name))


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
