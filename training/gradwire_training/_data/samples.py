"""Samples of a function and of its derivatives, checked once, when they are made; and noise added to their labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradwire._errors import DataError, UsageError
from gradwire._package import Alias, Names, check_aliases, check_names, derivative_name, tangent_name
from gradwire_training._data.columns import (
    ColumnKey,
    Derivatives,
    Role,
    Table,
    check_rows,
    mean_and_deviation,
    read_derivatives,
    read_table,
    read_tangents,
    read_weights,
    refuse,
    rows_with_labels,
)
from gradwire_training._data.read import read_columns
from gradwire_training._data.replicates import ROUNDING, noise_of, number_points, replicates_note
from gradwire_training._data.roles import Roles
from gradwire_training._data.truth import Truth

Species: TypeAlias = "Mapping[str, Sequence[str]]"  # by input, one for each atom

LONE_INPUT: Final = "x"  # the name of an input that comes as a plain array
LONE_OUTPUT: Final = "f"  # the name of an output that comes as a plain array
NOISE_SEED: Final = 7_351  # beside the caller's: noise must not draw the numbers that placed the points


@final
@dataclass(frozen=True, slots=True)
class Provenance:
    """Where samples come from, when the function behind them is known."""

    truth: Truth
    spacing: str  # of the points in the domain
    seed: int  # of randomly placed points
    simulated: bool = False  # whether the labels are unbiased estimates by a simulation, not the truth


@final
class Samples:
    """Rows of inputs, of outputs, and of derivatives of outputs with respect to inputs.

    Missing labels are NaN in ``y``, ``dydx`` and ``y_dot``: any subset may be present in any row. Rows of one element
    may come as ``(rows,)``; they are stored as ``(rows, 1)``. Everything is stored as float64.

    Args:
        x: name -> array ``(rows, *row shape)``; a plain array is the input ``"x"``.
        y: name -> array ``(rows, *row shape)``; a plain array is the output ``"f"``.
        dydx: output -> input -> array ``(rows, *shape)``, where shape is the input's for a scalar output, else the
            output's followed by the input's; pairs may be left out; a plain array for one input and output.
        x_dot: a direction a row: input -> array of the input's shape; inputs that are left out do not move.
        y_dot: the derivatives along it, sum of dy/dx x_dot over the inputs: output -> array of the output's
            shape. Several directions at one point are several rows.
        weights: ``(rows,)``: how much a row counts in the loss and in errors; 0 leaves it out, 2 counts as the row
            twice. By default every row counts the same.
        weight_column: the column of a table that the weights are from, for a later fit that starts from this one.
        units: input or output -> physical unit, ``"1"`` for a pure number; the card shows them.
        species: of an input ``(atoms, 3)``, the species of every atom in its order; the card shows them.
        aliases: name -> the derivative that people call so, and its sign or factor: ``{"forces": Alias("energy",
            "positions", -1)}``. Reports and the card show them; ``dydx`` holds derivatives as they are.
        provenance: the problem that made them, if any.
        notes: what was noticed when they were read, a line each.

    Attributes:
        x: the inputs by name.
        y: the outputs by name.
        dydx: the derivatives by output and input.
        x_dot: the directions by input; empty where there are none.
        y_dot: the derivatives along them by output.
        row_weights: ``(rows,)``; None where every row counts the same.
        weight_column: the column of a table that they are from; None where they are from none.
        units: by name, as far as known.
        species: by input, as far as known.
        aliases: derivatives by the names that people give them.
        count: number of rows.
        provenance: see the argument.

    Raises:
        DataError: no rows, rows that do not match, a shape that the contract does not allow, an unknown name,
            text, infinity anywhere, or NaN among the inputs, or in a direction whose derivative is known; weights that
            are negative or NaN.
        UsageError: names that a package cannot have, or units, species or aliases of something else.
    """

    __slots__ = (
        "_notes",
        "aliases",
        "count",
        "dydx",
        "provenance",
        "row_weights",
        "species",
        "units",
        "weight_column",
        "x",
        "x_dot",
        "y",
        "y_dot",
    )

    def __init__(
        self,
        x: Mapping[str, ArrayLike] | ArrayLike,
        y: Mapping[str, ArrayLike] | ArrayLike,
        dydx: Mapping[str, Mapping[str, ArrayLike]] | ArrayLike | None = None,
        *,
        x_dot: Mapping[str, ArrayLike] | ArrayLike | None = None,
        y_dot: Mapping[str, ArrayLike] | ArrayLike | None = None,
        weights: ArrayLike | None = None,
        weight_column: str | None = None,
        units: Mapping[str, str] | None = None,
        species: Species | None = None,
        aliases: Mapping[str, Alias] | None = None,
        provenance: Provenance | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        self.x: Table = read_table("x", x, LONE_INPUT)
        self.y: Table = read_table("y", y, LONE_OUTPUT)
        check_names(self.x, self.y)
        self.count: int = len(next(iter(self.x.values())))
        self.dydx: Derivatives = read_derivatives(dydx, self.x, self.y)
        self.x_dot: Table = read_tangents("x_dot", x_dot, self.x)
        self.y_dot: Table = read_tangents("y_dot", y_dot, self.y)
        self.row_weights = read_weights(weights)
        self.weight_column = weight_column
        self.provenance = provenance
        self.units: dict[str, str] = _units(units, self)
        self.species: dict[str, list[str]] = _species(species, self)
        self.aliases: dict[str, Alias] = dict(aliases or {})
        check_aliases(self.aliases, list(self.x), list(self.y))
        self._notes = tuple(notes)
        for key, column in self.columns().items():
            check_rows(key.label, column, self.count)
            if key.role == "x":
                refuse(key.label, np.isnan(column), "NaN", "an input must be known: drop the row")
        _check_directions(self)

    @classmethod
    def read(
        cls,
        source: Any,
        *,
        inputs: Names | None = None,
        outputs: Names | None = None,
        derivatives: Mapping[str, Sequence[str]] | None = None,
        ignore: Collection[str] = (),
        weights: str | None = None,
        units: Mapping[str, str] | None = None,
        decimal: str = ".",
    ) -> Samples:
        """Read samples from a table whose columns have the contract's names, or are mapped to them.

        Input ``x`` is the column ``x``, or ``x[0]``, ``x[1]``, … for rows of several elements, or a column of lists;
        likewise the output ``f``, the derivative ``df_dx``, a direction ``x_dot`` and the derivative along it
        ``f_dot``. Empty cells, nulls and NaN are missing labels. Other columns that hold numbers are refused, unless
        they are named in ``ignore``; those that hold none are left out.

        Args:
            source: a path (Parquet, Arrow, CSV, TSV, JSON, NPZ, extended XYZ: see docs/data.md), a pandas DataFrame, a
                pyarrow Table (or anything that it takes), or a mapping: column -> array.
            inputs: columns, in the model's order, or ``{name in the model: column}``, such as ``{"mach": "Mach
                number"}``; both left out, names of derivatives tell which they are.
            outputs: likewise.
            derivatives: columns of derivatives under names of their own: ``{"delta": ("px", "S0")}``, output and
                input; ``{"forces": ("-energy", "positions")}`` with a sign, ``("0.01*px", "vol")`` with a factor.
                They become the aliases of the samples; a third entry names the column, if it is another.
            ignore: columns to leave out.
            weights: the column of the rows' weights; by default every row counts the same.
            units: input or output -> unit.
            decimal: the decimal mark of a CSV or TSV file, a point or a comma.

        Raises:
            DataError: the file cannot be read, has no such column, or a column of numbers without a role, or holds
                something that is not a number; names the column and the row, counted from 0.
            MissingExtra: pandas or pyarrow is not installed.
        """
        table = read_columns(source, decimal=decimal)
        roles = Roles.of(table, inputs, outputs, derivatives, ignore, weights)
        return cls(**roles.arrays(table), units=units, notes=roles.notes)

    @classmethod
    def from_columns(
        cls,
        columns: Mapping[ColumnKey, ArrayLike],
        *,
        weight_column: str | None = None,
        units: Mapping[str, str] | None = None,
        species: Species | None = None,
        aliases: Mapping[str, Alias] | None = None,
        provenance: Provenance | None = None,
        notes: Sequence[str] = (),
    ) -> Samples:
        """Build samples from columns by key: the inverse of ``columns``.

        Raises:
            DataError: see the class.
        """
        tables: dict[Role, dict[str, Any]] = {"x": {}, "y": {}, "dydx": {}, "x_dot": {}, "y_dot": {}}
        weights = columns.get(ColumnKey("weight"))
        for key, column in columns.items():
            if key.role == "weight":
                continue
            if key.role == "dydx":
                tables["dydx"].setdefault(key.output, {})[key.input] = column
            else:
                tables[key.role][key.output or key.input] = column
        return cls(
            tables["x"],
            tables["y"],
            tables["dydx"],
            x_dot=tables["x_dot"] or None,
            y_dot=tables["y_dot"] or None,
            weights=weights,
            weight_column=weight_column,
            units=units,
            species=species,
            aliases=aliases,
            provenance=provenance,
            notes=notes,
        )

    @classmethod
    def from_arrays(
        cls,
        arrays: Mapping[str, NDArray[Any]],
        *,
        prefix: str = "",
        weight_column: str | None = None,
        units: Mapping[str, str] | None = None,
        species: Species | None = None,
        aliases: Mapping[str, Alias] | None = None,
        provenance: Provenance | None = None,
    ) -> Samples:
        """Build samples from the arrays of a file, named as ``arrays`` names them.

        Args:
            arrays: by name; those that are not columns of these samples are ignored.
            prefix: of the names of these samples.
            weight_column: see the class.
            units: input or output -> unit.
            species: of an input ``(atoms, 3)``, one for each atom.
            aliases: derivatives by the names that people give them.
            provenance: the problem that made them, if any.

        Raises:
            DataError: see the class.
        """
        names = [name for name in arrays if name.startswith(prefix)]
        keys = {name: ColumnKey.from_file_name(name.removeprefix(prefix)) for name in names}
        columns = {key: arrays[name] for name, key in keys.items() if key is not None}
        return cls.from_columns(
            columns,
            weight_column=weight_column,
            units=units,
            species=species,
            aliases=aliases,
            provenance=provenance,
        )

    @classmethod
    def concat(cls, parts: Sequence[Samples]) -> Samples:
        """Concatenate rows; a derivative that only some parts have is missing in the others.

        Args:
            parts: samples with the same inputs and outputs; at least one. Units, aliases and provenance are those of
                the first.

        Raises:
            DataError: some parts have weights, and others none.
        """
        if len({part.row_weights is None for part in parts}) > 1:
            raise DataError("some of the rows to be joined have weights, and others none: give all rows some, or none")
        tables = [part.columns() for part in parts]
        shapes = {key: column.shape[1:] for table in tables for key, column in table.items()}
        columns = {
            key: np.concatenate(
                [
                    table[key] if key in table else np.full((part.count, *shape), np.nan)
                    for part, table in zip(parts, tables, strict=True)
                ]
            )
            for key, shape in shapes.items()
        }
        first = parts[0]
        return cls.from_columns(
            columns,
            weight_column=first.weight_column,
            units=first.units,
            species=first.species,
            aliases=first.aliases,
            provenance=first.provenance,
        )

    def __repr__(self) -> str:
        derivatives = [derivative_name(output, wrt) for output, by_input in self.dydx.items() for wrt in by_input]
        derivatives += [tangent_name(name) for name in self.y_dot]
        return f"Samples(rows={self.count}, x={list(self.x)}, y={list(self.y)}, dydx={derivatives})"

    def columns(self) -> dict[ColumnKey, NDArray[np.float64]]:
        """Return every column by its key: inputs, outputs, derivatives, directions, derivatives along them, weights."""
        return {
            **{ColumnKey("x", input=name): column for name, column in self.x.items()},
            **{ColumnKey("y", name): column for name, column in self.y.items()},
            **{ColumnKey("dydx", f, x): column for f, by_input in self.dydx.items() for x, column in by_input.items()},
            **{ColumnKey("x_dot", input=name): column for name, column in self.x_dot.items()},
            **{ColumnKey("y_dot", name): column for name, column in self.y_dot.items()},
            **({} if self.row_weights is None else {ColumnKey("weight"): self.row_weights}),
        }

    def arrays(self) -> Iterator[tuple[str, NDArray[np.float64]]]:
        """Yield every column with its name in files: ``x:spot``, ``y:price``, ``dydx:price:spot``."""
        return ((key.file_name, column) for key, column in self.columns().items())

    def take(self, rows: NDArray[np.int64]) -> Samples:
        """Return some of the rows, in the order of their numbers in ``rows``.

        Args:
            rows: their numbers, counted from 0; at least one.
        """
        return self._with({key: column[rows] for key, column in self.columns().items()}, self._notes)

    def weighted(self, weights: ArrayLike) -> Samples:
        """Return the same rows with other weights.

        Args:
            weights: ``(rows,)``, see the class.

        Raises:
            DataError: one is negative or NaN, or there are too few, or too many.
        """
        weighted = self._with({**self.columns(), ColumnKey("weight"): np.asarray(weights)}, self._notes)
        weighted.weight_column = None
        return weighted

    def counted(self) -> Samples:
        """Return the rows whose weight is not 0, with a note where there are others.

        Raises:
            DataError: all weights are 0.
        """
        if self.row_weights is None or self.row_weights.all():
            return self
        rows = np.flatnonzero(self.row_weights)
        if not rows.size:
            raise DataError(f"the weights of all {self.count:,} rows are 0, and none counts: give some above 0")
        note = f"{self.count - len(rows):,} of {self.count:,} rows have the weight 0 and are left out"
        return self._with({key: column[rows] for key, column in self.columns().items()}, (*self._notes, note))

    def map_labels(self, function: Callable[[NDArray[np.float64]], NDArray[np.float64]], *, note: str) -> Samples:
        """Return the same rows with other labels.

        Args:
            function: column of labels ``(rows, *shape)`` -> the column instead of it.
            note: what was done, a line.
        """
        columns = {key: function(column) if key.is_label else column for key, column in self.columns().items()}
        return self._with(columns, (*self._notes, note))

    @property
    def notes(self) -> tuple[str, ...]:
        """What there is to know of them before a fit, a line each: columns left out, replicates and their noise."""
        line = replicates_note(self.x)
        if line is None:
            return self._notes
        told = [f"{name} {100 * noise:.2g} %" for name, noise in self._replicate_noise().items() if noise > ROUNDING]
        noise = (f"they tell the noise of the labels, of their spread: {', '.join(told)}",) if told else ()
        return (*self._notes, line, *noise)

    def _replicate_noise(self) -> dict[str, float]:
        """Return what replicates tell of the noise, by output and derivative; those along directions are of several."""
        columns = self.y | {
            derivative_name(output, wrt): column for output, by in self.dydx.items() for wrt, column in by.items()
        }
        numbers = number_points(self.x)
        noises = {name: noise_of(numbers, column) for name, column in columns.items()}
        return {name: noise for name, noise in noises.items() if noise is not None}

    @property
    def value_labels(self) -> int:
        """How many elements of ``y`` are known."""
        return self._labels("y")

    @property
    def derivative_labels(self) -> int:
        """How many derivatives are known: elements of ``dydx`` and of ``y_dot``."""
        return self._labels("dydx", "y_dot")

    @property
    def directional_labels(self) -> int:
        """How many derivatives along a direction are known: elements of ``y_dot``."""
        return self._labels("y_dot")

    def _labels(self, *roles: Role) -> int:
        return sum(int(np.isfinite(column).sum()) for key, column in self.columns().items() if key.role in roles)

    def _with(self, columns: Mapping[ColumnKey, NDArray[np.float64]], notes: Sequence[str]) -> Samples:
        return Samples.from_columns(
            columns,
            weight_column=self.weight_column,
            units=self.units,
            species=self.species,
            aliases=self.aliases,
            provenance=self.provenance,
            notes=notes,
        )


def with_noise(samples: Samples, fraction: float, *, seed: int = 0) -> Samples:
    """Return samples with Gaussian noise on every label.

    Each element of ``y``, ``dydx`` and ``y_dot`` gets noise whose standard deviation is a fraction of that element's
    own standard deviation over the rows. The provenance stays, so that errors are measured against the truth.

    Args:
        samples: with labels that vary; they are left as they are.
        fraction: of the standard deviation, 0 or more; 0 returns the samples themselves.
        seed: the same seed gives the same noise.

    Raises:
        UsageError: a negative fraction, or one that is not finite.
    """
    if not (math.isfinite(fraction) and fraction >= 0):
        raise UsageError(f"noise is {fraction}, expected a finite number of 0 or more, such as 0.01")
    if not fraction:
        return samples
    generator = np.random.default_rng((NOISE_SEED, seed))

    def noisy(column: NDArray[np.float64]) -> NDArray[np.float64]:
        _, deviation = mean_and_deviation(column)
        return column + fraction * deviation * generator.standard_normal(column.shape)

    return samples.map_labels(noisy, note=f"noise of {fraction:g} standard deviations was added to every label")


def _units(units: Mapping[str, str] | None, samples: Samples) -> dict[str, str]:
    names = [*samples.x, *samples.y]
    if unknown := [name for name in units or {} if name not in names]:
        raise UsageError(f"units names {unknown[0]!r}, the samples have {names}: use one of those")
    known = {} if samples.provenance is None else samples.provenance.truth.units
    return known | dict(units or {})


def _species(species: Species | None, samples: Samples) -> dict[str, list[str]]:
    counts = {name: column.shape[1] for name, column in samples.x.items()}
    for name, kinds in (species or {}).items():
        if counts.get(name) != len(kinds):
            raise UsageError(
                f"{len(kinds)} species of {name!r}, the inputs have so many atoms: {counts}; give one for each, in order"
            )
    return {name: list(kinds) for name, kinds in (species or {}).items()}


def _check_directions(samples: Samples) -> None:
    if bool(samples.x_dot) != bool(samples.y_dot):
        present, missing = ("x_dot", "y_dot") if samples.x_dot else ("y_dot", "x_dot")
        raise DataError(f"there is {present} but no {missing}: give directions and the derivatives along them")
    labelled = rows_with_labels(list(samples.y_dot.values()), samples.count)
    for name, column in samples.x_dot.items():
        unknown = np.isnan(column).reshape(samples.count, -1).any(axis=1)
        advice = "a direction must be known where the derivative along it is: 0 stands for not moving"
        refuse(f"x_dot {name!r}", unknown & labelled, "NaN", advice)
