"""What `gradwire train` is to fit: a problem that comes along, or a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from gradwire._cli.choices import Loss, OptimizerName, Spacing
from gradwire._cli.console import note
from gradwire._errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gradwire._cli.train.overrides import Wish

LOSS_TEXTS: Final = {
    Loss.SOBOLEV: "values and derivatives",
    Loss.VALUE: "values",
    Loss.DERIVATIVE: "derivatives, and values in rows that have none",
}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Everything that a fit needs to be told of the function.

    Attributes:
        name: of the model, in a package's path.
        samples: what is fitted.
        validation: rows that were held out to measure the fit on; None where a truth is known, or rows are few.
        model: a fresh Keras model.
        loss: what is made small.
        truth: the function behind the samples, where it is known.
        optimizer: what auto stands for.
        steps: of that optimiser; None for its own number.
    """

    name: str
    samples: Any
    model: Any
    loss: Any
    validation: Any = None
    truth: Any = None
    optimizer: Any = OptimizerName.AUTO.value
    steps: int | None = None


def is_file(what: str) -> bool:
    """Says whether the first argument names a file with samples, and not a problem: names have no dot or slash."""
    return bool(Path(what).suffix) or "/" in what or "\\" in what


def from_problem(
    training: Any,
    name: str,
    *,
    wish: Wish,
    count: int | None,
    spacing: Spacing | None,
    noise: float,
    seed: int,
    loss: Loss | None,
    exact: bool,
) -> Task:
    """Samples a problem that comes along.

    Args:
        training: the package ``gradwire_training``.
        name: of the problem.
        wish: what the caller wants otherwise.
        count: how many samples; None for the problem's own number.
        spacing: how they lie; None for the problem's own.
        noise: added to every label, in standard deviations of its column.
        seed: of random samples, of the noise, and of the network.
        loss: None for the default.
        exact: true labels also where the problem simulates them.

    Raises:
        UsageError: no such problem, or one that cannot be sampled so.
    """
    problem = training.problems.get(name)
    samples = problem.samples(count, spacing=None if spacing is None else spacing.value, seed=seed, exact=exact)
    samples = training.with_noise(samples, noise, seed=seed)
    chosen = loss or Loss(training.problems.LOSSES[0])
    wish.check(chosen)
    return Task(
        name=name,
        samples=samples,
        model=problem.network(seed=seed, samples=samples, **wish.layers),
        loss=wish.sobolev(training) if chosen is Loss.SOBOLEV else problem.loss(chosen.value),
        truth=problem.truth,
        optimizer=problem.optimizer(samples.count),
        steps=problem.steps,
    )


def from_file(
    training: Any,
    path: Path,
    *,
    wish: Wish,
    inputs: Sequence[str],
    outputs: Sequence[str],
    units: Mapping[str, str],
    holdout: float,
    seed: int,
    loss: Loss | None,
) -> Task:
    """Reads a file of samples, holds rows out, and builds a network for the rest.

    Args:
        training: the package ``gradwire_training``.
        path: of the file.
        wish: what the caller wants otherwise.
        inputs: names; none leaves it to the names of derivative columns.
        outputs: names, likewise.
        units: name -> unit.
        holdout: share of the rows on which the fit is measured.
        seed: of the rows held out, and of the network.
        loss: None for values and derivatives, or values where the file has no derivative.

    Raises:
        DataError: the file cannot be read, or has not what is needed; says the column and the row.
    """
    columns: dict[str, Any] = {"inputs": inputs or None, "outputs": outputs or None, "units": units}
    if training.Stream.suits(path):
        stream = training.Stream(path, **columns, holdout=holdout, seed=seed)
        fitted, samples, validation, source = _stream_loss(training, stream, path, loss, wish)
    else:
        fitted, samples, validation = _rows_loss(training, columns, path, holdout, seed, loss, wish)
        source = samples
    note(_told_holdout(source, validation))
    model = training.mlp(
        inputs={name: column.shape[1:] for name, column in samples.x.items()},
        outputs={name: column.shape[1:] for name, column in samples.y.items()},
        seed=seed,
        scale=samples,
        **wish.layers,
    )
    return Task(name=path.stem, samples=source, model=model, loss=fitted, validation=validation)


def _rows_loss(
    training: Any,
    columns: Mapping[str, Any],
    path: Path,
    holdout: float,
    seed: int,
    loss: Loss | None,
    wish: Wish,
) -> tuple[Any, Any, Any]:
    """Gives the loss, the rows to fit, and those held out, of a file that fits into memory."""
    rows = training.Samples.read(path, **columns)
    chosen = loss or (Loss.SOBOLEV if rows.derivative_labels else Loss.VALUE)
    wish.check(chosen)
    labels = f"{rows.value_labels:,} values and {rows.derivative_labels:,} derivatives"
    _note_rows(path, f"{rows.count:,} rows with {labels}", chosen, rows.notes)
    if chosen is Loss.DERIVATIVE:
        rows, pins = training.split_pins(rows)
        fitted = training.Derivative(pins)
    else:
        fitted = training.Value() if chosen is Loss.VALUE else wish.sobolev(training)
    return (fitted, *training.hold_out(rows, share=holdout, seed=seed))


def _stream_loss(training: Any, stream: Any, path: Path, loss: Loss | None, wish: Wish) -> tuple[Any, Any, Any, Any]:
    """Gives the loss, some of the rows, those held out, and all of them, of files that are read in turn."""
    chosen = loss or (Loss.SOBOLEV if stream.samples.derivative_labels else Loss.VALUE)
    wish.check(chosen)
    if chosen is Loss.DERIVATIVE:
        raise UsageError(
            f"{path} is read in parts, in which there may be no value: give --loss sobolev, which fits every value "
            "and derivative that is there"
        )
    _note_rows(path, f"{stream.count:,} rows to fit, read in parts", chosen, stream.notes)
    fitted = training.Value() if chosen is Loss.VALUE else wish.sobolev(training)
    return fitted, stream.samples, stream.validation, stream


def _note_rows(path: Path, what: str, loss: Loss, notes: Sequence[str]) -> None:
    """Says what was read, and what was noticed about it, a line each."""
    note(f"{path}: {what}; fitting {LOSS_TEXTS[loss]}")
    for line in notes:
        note(line)


def _told_holdout(samples: Any, validation: Any) -> str:
    if validation is None:
        return f"all {samples.count:,} rows are fitted: none are held out to measure on"
    return f"{validation.count:,} rows are held out to measure on, {samples.count:,} are fitted"
