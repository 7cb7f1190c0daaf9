"""Samples of a function and of its derivatives, checked once, when they are made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np

from gradwire._errors import DataError, UsageError
from gradwire._package import check_names, derivative_name, tangent_name
from gradwire_training._data.columns import check_rows, derivatives_of, refuse, table_of, tangents_of
from gradwire_training._data.replicates import replicates

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from gradwire_training._data.truth import Derivatives, Table, Truth

LONE_INPUT: Final = "x"  # the name of an input that is given as a plain array
LONE_OUTPUT: Final = "f"  # the name of an output that is given as a plain array


@final
@dataclass(frozen=True, slots=True)
class Provenance:
    """Where samples come from, when the function behind them is known.

    Attributes:
        truth: the function behind them, with its units.
        spacing: how the points lie in the domain.
        seed: of randomly placed points.
        simulated: whether the labels are right on average only, not the truth.
    """

    truth: Truth
    spacing: str
    seed: int
    simulated: bool = False


@final
class Samples:
    """Rows of inputs, of outputs, and of derivatives of outputs by inputs.

    Missing labels are NaN in ``y``, ``dydx`` and ``y_dot``: any subset may be there for any row. Rows of one
    number may be given as ``(rows,)``; they are kept as ``(rows, 1)``. All numbers are kept as float64.

    Args:
        x: name -> array ``(rows, *row shape)``; a plain array is the input ``"x"``.
        y: name -> array ``(rows, *row shape)``; a plain array is the output ``"f"``.
        dydx: output -> input -> array ``(rows, *shape)``, where shape is the input's for an output of one
            number, else the output's followed by the input's; pairs may be left out; a plain array for one
            input and output.
        x_dot: a direction a row: input -> array of the input's shape; inputs that are left out do not move.
        y_dot: the derivatives along it, sum of dy/dx x_dot over the inputs: output -> array of the output's
            shape. Several directions at one point are several rows.
        units: input or output -> physical unit, ``"1"`` for a pure number; the card shows them.
        provenance: the problem that made them, if any.
        notes: what was noticed when they were read, a line each.

    Attributes:
        x: the inputs by name.
        y: the outputs by name.
        dydx: the derivatives by output and input.
        x_dot: the directions by input; empty where there are none.
        y_dot: the derivatives along them by output.
        units: by name, as far as known.
        count: number of rows.
        provenance: as given.

    Raises:
        DataError: no rows, rows that do not match, a shape that the contract does not allow, an unknown name,
            text, infinity anywhere, or NaN among the inputs, or in a direction whose derivative is given.
        UsageError: names that a package cannot have, or units of something else.
    """

    __slots__ = ("_notes", "count", "dydx", "provenance", "units", "x", "x_dot", "y", "y_dot")

    def __init__(
        self,
        x: Mapping[str, ArrayLike] | ArrayLike,
        y: Mapping[str, ArrayLike] | ArrayLike,
        dydx: Mapping[str, Mapping[str, ArrayLike]] | ArrayLike | None = None,
        *,
        x_dot: Mapping[str, ArrayLike] | ArrayLike | None = None,
        y_dot: Mapping[str, ArrayLike] | ArrayLike | None = None,
        units: Mapping[str, str] | None = None,
        provenance: Provenance | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        self.x: Table = table_of("x", x, LONE_INPUT)
        self.y: Table = table_of("y", y, LONE_OUTPUT)
        check_names(self.x, self.y)
        self.count: int = len(next(iter(self.x.values())))
        self.dydx: Derivatives = derivatives_of(dydx, self.x, self.y)
        self.x_dot: Table = tangents_of("x_dot", x_dot, self.x)
        self.y_dot: Table = tangents_of("y_dot", y_dot, self.y)
        self.provenance = provenance
        self.units: dict[str, str] = _units(units, self)
        self._notes = tuple(notes)
        for label, column in _labelled(self):
            check_rows(label, column, self.count)
        for name, column in self.x.items():
            refuse(f"x {name!r}", np.isnan(column), "NaN", "an input must be known: drop the row")
        _check_directions(self)

    @classmethod
    def read(
        cls,
        source: Any,
        *,
        inputs: Sequence[str] | None = None,
        outputs: Sequence[str] | None = None,
        units: Mapping[str, str] | None = None,
    ) -> Samples:
        """Reads samples from a table whose columns have the contract's names.

        Input ``x`` is the column ``x``, or ``x[0]``, ``x[1]``, … for rows of several numbers, or a column of
        lists; likewise the output ``f``, the derivative ``df_dx``, a direction ``x_dot`` and the derivative
        along it ``f_dot``. Empty cells, nulls and NaN are missing labels; other columns are left out.

        Args:
            source: a path (``.parquet``, ``.csv``, ``.tsv``, ``.arrow``, ``.feather``), a pandas DataFrame, a
                pyarrow Table (or anything that it takes), or a mapping: column -> array.
            inputs: names, in the model's order; both left out, names of derivatives tell which they are.
            outputs: names.
            units: input or output -> unit.

        Raises:
            DataError: the file cannot be read, has no such column, or holds what is no number; says the
                column and the row, counted from 0.
            MissingExtra: pandas or pyarrow is not installed.
        """
        from gradwire_training._data.read import (
            read_columns,  # a reader knows samples, not the other way round
        )
        from gradwire_training._data.roles import Roles

        columns = read_columns(source)
        roles = Roles.of(columns, inputs, outputs, what=columns.what)
        return cls(**roles.arrays(columns), units=units, notes=roles.notes)

    def __repr__(self) -> str:
        derivatives = [derivative_name(output, wrt) for output, by in self.dydx.items() for wrt in by]
        derivatives += [tangent_name(name) for name in self.y_dot]
        return f"Samples(rows={self.count}, x={list(self.x)}, y={list(self.y)}, dydx={derivatives})"

    def arrays(self) -> Iterator[tuple[str, NDArray[np.float64]]]:
        """Yields every column with its name in files: ``x:spot``, ``y:price``, ``dydx:price:spot``."""
        yield from ((f"x:{name}", column) for name, column in self.x.items())
        yield from ((f"y:{name}", column) for name, column in self.y.items())
        for output, by in self.dydx.items():
            yield from ((f"dydx:{output}:{wrt}", column) for wrt, column in by.items())
        yield from ((f"x_dot:{name}", column) for name, column in self.x_dot.items())
        yield from ((f"y_dot:{name}", column) for name, column in self.y_dot.items())

    def take(self, rows: NDArray[np.int64]) -> Samples:
        """Gives samples of some of the rows, in the order asked for.

        Args:
            rows: numbers of rows, counted from 0; at least one.
        """
        return Samples(
            {name: column[rows] for name, column in self.x.items()},
            {name: column[rows] for name, column in self.y.items()},
            {output: {wrt: column[rows] for wrt, column in by.items()} for output, by in self.dydx.items()},
            x_dot={name: column[rows] for name, column in self.x_dot.items()} or None,
            y_dot={name: column[rows] for name, column in self.y_dot.items()} or None,
            units=self.units,
            provenance=self.provenance,
            notes=self._notes,
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What there is to know of them before a fit, a line each: columns left out, replicates."""
        line = replicates(self)
        return self._notes if line is None else (*self._notes, line)

    @property
    def value_labels(self) -> int:
        """How many numbers of ``y`` are known."""
        return sum(int(np.isfinite(column).sum()) for column in self.y.values())

    @property
    def derivative_labels(self) -> int:
        """How many derivatives are known: numbers of ``dydx`` and of ``y_dot``."""
        partials = sum(int(np.isfinite(column).sum()) for by in self.dydx.values() for column in by.values())
        return partials + self.directional_labels

    @property
    def directional_labels(self) -> int:
        """How many derivatives along a direction are known: numbers of ``y_dot``."""
        return sum(int(np.isfinite(column).sum()) for column in self.y_dot.values())


def _units(given: Mapping[str, str] | None, samples: Samples) -> dict[str, str]:
    known = [*samples.x, *samples.y]
    if unknown := [name for name in given or {} if name not in known]:
        raise UsageError(f"units names {unknown[0]!r}, the samples have {known}: use one of those")
    if samples.provenance is not None:
        truth = samples.provenance.truth
        return {quantity.name: quantity.unit for quantity in (*truth.inputs, *truth.outputs)} | dict(given or {})
    return dict(given or {})


def _labelled(samples: Samples) -> Iterator[tuple[str, NDArray[np.float64]]]:
    for name, column in samples.arrays():
        match name.split(":"):
            case ["dydx", output, wrt]:
                yield f"dydx[{output!r}][{wrt!r}]", column
            case [role, *rest]:
                yield f"{role} {rest[0]!r}", column


def _check_directions(samples: Samples) -> None:
    if bool(samples.x_dot) != bool(samples.y_dot):
        given, other = ("x_dot", "y_dot") if samples.x_dot else ("y_dot", "x_dot")
        raise DataError(f"there is {given} but no {other}: give directions and the derivatives along them")
    wanted = np.zeros(samples.count, bool)
    for column in samples.y_dot.values():
        wanted |= np.isfinite(column).reshape(samples.count, -1).any(axis=1)
    for name, column in samples.x_dot.items():
        unknown = np.isnan(column).reshape(samples.count, -1).any(axis=1)
        advice = "a direction must be known where the derivative along it is: 0 stands for not moving"
        refuse(f"x_dot {name!r}", unknown & wanted, "NaN", advice)
