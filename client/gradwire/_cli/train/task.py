"""A task of ``gradwire train``: what to fit, read from a built-in problem or a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from gradwire._cli.choices import Loss, OptimizerName
from gradwire._cli.console import note
from gradwire._cli.io import read_units
from gradwire._errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gradwire._cli.train.options import TrainOptions

FITTED: Final = {
    Loss.SOBOLEV: "values and derivatives",
    Loss.VALUE: "values",
    Loss.DERIVATIVE: "derivatives, and values in rows without derivatives",
}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What to fit, as arguments of ``gradwire_training.fit``.

    Attributes:
        name: of the model, in a package's path.
        samples: the samples, or a stream of them.
        model: a new Keras model.
        loss: the loss.
        validation: rows held out to measure errors on; None where the function is known, or rows are few.
        optimizer: what ``auto`` stands for.
        steps: of that optimizer; None for its own default.
    """

    name: str
    samples: Any
    model: Any
    loss: Any
    validation: Any = None
    optimizer: Any = OptimizerName.AUTO.value
    steps: int | None = None


def read_task(training: Any, options: TrainOptions) -> Task:
    """Read the task that the options describe.

    Args:
        training: the package ``gradwire_training``.
        options: of the command.

    Raises:
        UsageError: no such problem, or one that cannot be sampled so; or options that do not go together.
        DataError: the file cannot be read, or lacks what is needed; with the column and the row.
    """
    options.check()
    return _from_file(training, options) if options.is_file else _from_problem(training, options)


def _from_problem(training: Any, options: TrainOptions) -> Task:
    problem, seed = training.problems.get(options.source), options.seed
    spacing = None if options.spacing is None else options.spacing.value
    samples = problem.samples(options.samples, spacing=spacing, seed=seed, exact=options.exact)
    samples = training.with_noise(samples, options.noise, seed=seed)
    loss = options.loss or Loss(training.problems.LOSSES[0])
    weights = options.sobolev_weights(loss)
    return Task(
        name=options.source,
        samples=samples,
        model=problem.network(seed=seed, samples=samples, **options.layers),
        loss=training.Sobolev(**weights) if weights else problem.loss(loss.value),
        optimizer=problem.optimizer(samples.count),
        steps=problem.steps,
    )


def _from_file(training: Any, options: TrainOptions) -> Task:
    """Read a file of samples, hold rows out, and build a network for the rest."""
    path, layers = Path(options.source), options.layers
    columns: dict[str, Any] = {
        "inputs": _names(options.inputs),
        "outputs": _names(options.outputs),
        "units": read_units(options.units),
    }
    if training.Stream.suits(path):
        samples = training.Stream(path, **columns, holdout=options.holdout, seed=options.seed)
        in_memory, validation = samples.samples, samples.validation
        loss = _stream_loss(training, samples, options)
    else:
        rows = training.Samples.read(path, **columns)
        loss, rows = _rows_loss(training, rows, options)
        samples, validation = training.hold_out(rows, share=options.holdout, seed=options.seed)
        in_memory = samples
    if validation is None:
        note(f"fitting all {samples.count:,} rows: none are held out to measure errors on")
    else:
        note(f"fitting {samples.count:,} rows; {validation.count:,} rows are held out to measure errors on")
    model = training.mlp(
        inputs={name: column.shape[1:] for name, column in in_memory.x.items()},
        outputs={name: column.shape[1:] for name, column in in_memory.y.items()},
        seed=options.seed,
        scale=in_memory,
        **layers,
    )
    return Task(name=path.stem, samples=samples, model=model, loss=loss, validation=validation)


def _rows_loss(training: Any, rows: Any, options: TrainOptions) -> tuple[Any, Any]:
    """Return the loss for the rows of a file, and those of the rows that are its samples."""
    loss = options.loss or (Loss.SOBOLEV if rows.derivative_labels else Loss.VALUE)
    weights = options.sobolev_weights(loss)
    labels = f"{rows.value_labels:,} values and {rows.derivative_labels:,} derivatives"
    _note_rows(options, f"{rows.count:,} rows with {labels}", loss, rows.notes)
    if loss is Loss.DERIVATIVE:
        rows, pins = training.split_pins(rows)
        return training.Derivative(pins), rows
    return training.Value() if loss is Loss.VALUE else training.Sobolev(**weights), rows


def _stream_loss(training: Any, stream: Any, options: TrainOptions) -> Any:
    """Return the loss for a stream of samples."""
    loss = options.loss or (Loss.SOBOLEV if stream.samples.derivative_labels else Loss.VALUE)
    weights = options.sobolev_weights(loss)
    if loss is Loss.DERIVATIVE:
        raise UsageError(
            f"{options.source} is read in parts, which may lack a value each: give --loss sobolev, which fits every "
            "value and derivative that there is"
        )
    _note_rows(options, f"{stream.count:,} rows to fit, read in parts", loss, stream.notes)
    return training.Value() if loss is Loss.VALUE else training.Sobolev(**weights)


def _note_rows(options: TrainOptions, rows: str, loss: Loss, notes: Sequence[str]) -> None:
    note(f"{options.source}: {rows}; fitting {FITTED[loss]}")
    for line in notes:
        note(line)


def _names(text: str | None) -> list[str] | None:
    return [name.strip() for name in (text or "").split(",") if name.strip()] or None
