"""A task of ``gradwire train``: what to fit, read from a built-in problem or a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, final

from gradwire._cli.choices import OptimizerName
from gradwire._cli.console import note, number
from gradwire._cli.io import read_columns, read_derivatives, read_units, split_quoted
from gradwire._cli.progress import progress
from gradwire._cli.train.options import TrainOptions
from gradwire._cli.train.start import accepted, loss_of, optimizer_of, with_names
from gradwire._errors import UsageError
from gradwire._extras import import_extra
from gradwire._tables import FORMATS

ATOMS_STEPS: Final = 1_000  # some 20 seconds for six atoms


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What to fit, as arguments of ``gradwire_training.fit``.

    Attributes:
        name: of the model, in a package's path.
        samples: the samples, or a stream of them.
        model: a new Keras model, a ``networks.ChosenNetwork``, or the ``Start`` of an earlier fit.
        network: the Keras model itself.
        loss: the loss.
        validation: rows held out to measure errors on; None where the function is known, or rows are few.
        optimizer: what ``auto`` stands for.
        steps: of that optimizer; None for its own default.
    """

    name: str
    samples: Any
    model: Any
    network: Any
    loss: Any
    validation: Any = None
    optimizer: Any = OptimizerName.AUTO.value
    steps: int | None = None


def read_task(training: Any, options: TrainOptions, start: Any = None) -> Task:
    """Read the task that the options describe.

    Args:
        training: the package ``gradwire_training``.
        options: of the command.
        start: the earlier fit that this one starts from, if any.

    Raises:
        UsageError: no such problem, or one that cannot be sampled so; or options that do not go together.
        DataError: the file cannot be read, or lacks what is needed; with the column and the row.
    """
    options.check()
    task = _from_file(training, options, start) if options.is_file else _from_problem(training, options)
    if start is None:
        return task
    optimizer, steps = optimizer_of(training, start, task.optimizer, task.steps)
    return replace(task, model=start, name=start.name or task.name, optimizer=optimizer, steps=steps)


def _from_problem(training: Any, options: TrainOptions) -> Task:
    problem, seed = training.problems.get(options.source), options.seed
    spacing = None if options.spacing is None else options.spacing.value
    samples = problem.samples(options.samples, spacing=spacing, seed=seed, exact=options.exact)
    samples = training.with_noise(samples, options.noise, seed=seed)
    loss = options.loss.value if options.loss else training.losses.names()[0]
    settings = options.loss_settings(loss, training.losses.kind(loss).options)
    network = problem.network(seed=seed, samples=samples, **options.layers)
    return Task(
        name=options.source,
        samples=samples,
        model=network,
        network=network,
        loss=training.losses.get(loss, pins=problem.pins, **settings),
        optimizer=problem.optimizer(samples.count),
        steps=problem.steps,
    )


def _from_file(training: Any, options: TrainOptions, start: Any) -> Task:
    """Read a file of samples, hold rows out, and build a network for the rest."""
    path, layers = Path(options.source), options.layers
    columns: dict[str, Any] = {
        "inputs": read_columns("inputs", options.inputs),
        "outputs": read_columns("outputs", options.outputs),
        "derivatives": read_derivatives("derivatives", options.derivatives),
        "ignore": [] if options.ignore is None else split_quoted("ignore", options.ignore),
        "weights": options.weight_column,
        "units": read_units(options.units),
    }
    columns = with_names(columns, start, path, options.decimal)
    is_stream = training.Stream.suits(path)
    read = _from_stream if is_stream else _from_table
    samples, validation, loss = read(training, path, columns, options, start)
    if validation is None:
        note(f"fitting all {samples.count:,} rows: none are held out to measure errors on")
    else:
        note(f"fitting {samples.count:,} rows; {validation.count:,} rows are held out to measure errors on")
    in_memory = samples.samples if is_stream else samples
    if start is not None:
        model, network = start, start.model
    elif options.is_of_atoms:
        model = network = training.networks.atoms(in_memory, seed=options.seed, **layers)
    elif options.is_chosen:
        _note_coordinates(training, in_memory)
        model = _chosen(training, samples, loss, options)
        network = model.model
    else:
        _note_coordinates(training, in_memory)
        model = network = training.mlp(
            inputs={name: column.shape[1:] for name, column in in_memory.x.items()},
            outputs={name: column.shape[1:] for name, column in in_memory.y.items()},
            seed=options.seed,
            scale=in_memory,
            **layers,
        )
    outputs = list(in_memory.y)
    name = outputs[0] if len(outputs) == 1 else options.to.name
    if options.is_of_atoms and not is_stream:
        # No chain of layers: lm would take its Jacobian by a tape, seconds a step; and adam would come half as far.
        optimizer, steps = "lbfgs", ATOMS_STEPS
    else:
        optimizer, steps = OptimizerName.AUTO.value, None
    return Task(
        name=name,
        samples=samples,
        model=model,
        network=network,
        loss=loss,
        validation=validation,
        optimizer=optimizer,
        steps=steps,
    )


def _chosen(training: Any, samples: Any, loss: Any, options: TrainOptions) -> Any:
    """Let held-out rows choose a network; take the one of an unfinished fit that is resumed."""
    with progress("networks compared") as report:
        return training.networks.choose(
            samples,
            loss=loss,
            seed=options.seed,
            seconds=options.seconds,
            steps=options.steps,
            checkpoint=options.checkpoint if options.resume else None,
            callbacks=[reporter(report)],
            **options.layers,
        )


def reporter(report: Callable[[int, int, str], None]) -> Callable[[Any], None]:
    """Return a callback that passes the progress of a fit on to a bar."""

    def show(now: Any) -> None:
        report(now.step, now.steps, f"{now.optimizer}: loss {number(now.loss)}, mae {number(now.mae)}")

    return show


def _note_coordinates(training: Any, samples: Any) -> None:
    """Say what a perceptron of positions is not."""
    for name, column in samples.x.items():
        if training.networks.is_of_atoms(column.shape[1:]):
            note(
                f"{name} has rows {column.shape[1:]}, perhaps atoms: this network is not invariant under translations, "
                "rotations or permutations of them; --network atoms is"
            )


def _species(options: TrainOptions, path: Path, inputs: Sequence[str]) -> dict[str, list[str]]:
    """Return the species that were given, or those of an extended XYZ file, by the first input."""
    if options.species is not None:
        return {inputs[0]: [kind.strip() for kind in options.species.split(",")]}
    if options.is_of_atoms and path.suffix in FORMATS["xyz"]:
        frame = import_extra("ase.io", "ase").read(path, index=0, format="extxyz")
        return {inputs[0]: frame.get_chemical_symbols()}
    return {}


def _from_table(
    training: Any, path: Path, columns: Mapping[str, Any], options: TrainOptions, start: Any
) -> tuple[Any, Any, Any]:
    """Read files that fit into memory; return the samples, the rows held out, and the loss."""
    files, tables = [path, *(options.add or [])], list[Any]()
    for file in files:
        table = training.Samples.read(file, **columns, decimal=options.decimal)
        table.species.update(_species(options, file, list(table.x)))
        tables.append(table)
    samples = tables[0] if len(tables) == 1 else training.Samples.concat(tables)
    kind, settings = _loss_kind(training, samples, options, start)
    for file, table in zip(files, tables, strict=True):
        labels = f"{table.value_labels:,} values and {table.derivative_labels:,} derivatives"
        _note_rows(file, f"{table.count:,} rows with {labels}", kind, table.notes)
    pins = None
    if kind.needs_pins:
        samples, pins = training.split_pins(samples)
        tables = [samples]
    loss = training.losses.get(kind.name, pins=pins, **settings)
    # Each file by itself: with the same seed, the rows of a file that was fitted before are held out again.
    parts = [training.hold_out(table, share=options.holdout, seed=options.seed) for table in tables]
    held_out = [rows for _, rows in parts if rows is not None]
    if len(parts) == 1:
        return (*parts[0], loss)
    validation = training.Samples.concat(held_out) if held_out else None
    return training.Samples.concat([rows for rows, _ in parts]), validation, loss


def _from_stream(
    training: Any, path: Path, columns: Mapping[str, Any], options: TrainOptions, start: Any
) -> tuple[Any, Any, Any]:
    """Read files that may be larger than memory; return the stream, the rows held out, and the loss."""
    if options.add:
        raise UsageError(
            f"{path} is read in parts, which --add does not: put the files into one directory, and give that"
        )
    stream = training.Stream(path, **columns, holdout=options.holdout, seed=options.seed)
    kind, settings = _loss_kind(training, stream.samples, options, start)
    if kind.needs_pins:
        raise UsageError(
            f"{path} is read in parts, and a part may have no rows to pin: give --loss sobolev, which fits every "
            "value and derivative that there is"
        )
    _note_rows(path, f"{stream.count:,} rows to fit, read in parts", kind, stream.notes)
    return stream, stream.validation, training.losses.get(kind.name, **settings)


def _loss_kind(training: Any, samples: Any, options: TrainOptions, start: Any) -> tuple[Any, dict[str, Any]]:
    """Return the class of the loss, and its settings."""
    name, settings = loss_of(start, samples, training.losses.default_for(samples))
    if options.loss is not None and options.loss.value != name:
        name, settings = options.loss.value, {}
    kind = training.losses.kind(name)
    return kind, accepted(settings, kind.options) | options.loss_settings(name, kind.options)


def _note_rows(path: Path, rows: str, loss: Any, notes: Sequence[str]) -> None:
    note(f"{path}: {rows}; fitting {loss.fits}")
    for line in notes:
        note(line)
