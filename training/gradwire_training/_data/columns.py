"""The columns of samples: what each one is, which arrays are accepted, and the messages for those that are not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, cast, final, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradwire._errors import DataError
from gradwire._package import derivative_shape

Table: TypeAlias = "dict[str, NDArray[np.float64]]"  # by name, (rows, *row shape)
Derivatives: TypeAlias = "dict[str, Table]"  # by output and input, with the contract's shapes
Role: TypeAlias = Literal["x", "y", "dydx", "x_dot", "y_dot", "weight"]

TEXT_KINDS: Final = "USO"  # NumPy's kinds of text, and of objects, such as text in a frame
WORDS: Final = "convert it first; words become numbers by a column of 0 and 1 for each"
NUMBER_KINDS: Final = "iuf"  # NumPy's kinds of real numbers; a bool is hardly ever meant as one
ROWS_SHOWN: Final = 5  # in a message; the rest are counted


@final
@dataclass(frozen=True, slots=True)
class ColumnKey:
    """What a column of samples is."""

    role: Role  # input, output, partial derivative, direction, derivative along the direction, or weight of the row
    output: str = ""  # empty for inputs, directions and weights
    input: str = ""  # empty for outputs, derivatives along a direction and weights

    @property
    def is_label(self) -> bool:
        """Whether a fit may learn it: a value or a derivative."""
        return self.role in ("y", "dydx", "y_dot")

    @property
    def label(self) -> str:
        """The column in messages: ``dydx['price']['spot']``, ``x 'spot'``."""
        if self.role == "dydx":
            return f"dydx[{self.output!r}][{self.input!r}]"
        if self.role == "weight":
            return "weights"
        return f"{self.role} {self.output or self.input!r}"

    @property
    def file_name(self) -> str:
        """The column in a record's files: ``dydx:price:spot``, ``x:spot``."""
        return ":".join(part for part in (self.role, self.output, self.input) if part)

    @classmethod
    def from_file_name(cls, name: str) -> ColumnKey | None:
        """Return the key of a column in a record's files; None for the name of anything else."""
        role, *names = name.split(":")
        if role not in get_args(Role):
            return None
        role = cast("Role", role)
        if role in ("dydx", "weight"):
            return cls(role, *names)
        return cls(role, input=names[0]) if role in ("x", "x_dot") else cls(role, names[0])


def read_table(role: Role, arrays: Mapping[str, ArrayLike] | ArrayLike, lone: str) -> Table:
    """Return columns by name as float64, ``(rows,)`` as ``(rows, 1)``; ``lone`` is the name of a plain array."""
    named = arrays if isinstance(arrays, Mapping) else {lone: arrays}
    if not named:
        raise DataError(f"{role} has no columns: give at least one, name -> array")
    return {name: _column(f"{role} {name!r}", array) for name, array in named.items()}


def read_tangents(role: Role, arrays: Mapping[str, ArrayLike] | ArrayLike | None, table: Table) -> Table:
    """Return directions, or derivatives along them: columns with the shapes of the inputs or outputs in ``table``."""
    if arrays is None:
        return {}
    if not isinstance(arrays, Mapping) and len(table) > 1:
        raise DataError(f"{role} is a plain array, but there are columns {list(table)}: give {{name: array}}")
    tangents = read_table(role, arrays, next(iter(table)))
    for name, column in tangents.items():
        if name not in table:
            raise DataError(f"{role} names {name!r}, expected one of {list(table)}: use one of those")
        shape, expected = column.shape[1:], table[name].shape[1:]
        if shape != expected:
            raise DataError(f"{role} {name!r} has rows of shape {shape}, expected {expected}, as {name!r} has")
    return tangents


def read_derivatives(
    arrays: Mapping[str, Mapping[str, ArrayLike]] | ArrayLike | None, x: Table, y: Table
) -> Derivatives:
    """Return partial derivatives, output -> input -> array; pairs may be left out."""
    match arrays:
        case None:
            return {}
        case Mapping():
            return {output: _derivatives_of(output, by_input, x, y) for output, by_input in arrays.items()}
        case _ if len(x) == len(y) == 1:
            (wrt,), (output,) = x, y
            return {output: _derivatives_of(output, {wrt: arrays}, x, y)}
        case _:
            raise DataError(
                f"dydx is a plain array, but there are inputs {list(x)} and outputs {list(y)}: "
                "give {output: {input: array}}"
            )


def read_weights(weights: ArrayLike | None) -> NDArray[np.float64] | None:
    """Return the weights of rows, ``(rows,)``; raise where one is no weight."""
    if weights is None:
        return None
    column = _column("weights", weights)
    if column.shape[1:] != (1,):
        raise DataError(f"weights have rows of shape {column.shape[1:]}, expected a number a row: give shape (rows,)")
    refuse("weights", np.isnan(column), "NaN", "every row needs a weight; 0 leaves it out")
    refuse("weights", column < 0, "a negative number", "give 0 to leave a row out, and more for one that counts")
    return column.ravel()


def check_rows(label: str, column: NDArray[np.float64], rows: int) -> None:
    """Raise if a column has another length, or an infinity in it."""
    if len(column) != rows:
        raise DataError(f"{label} has {len(column)} rows, the first input has {rows}: give one row a sample")
    refuse(label, np.isinf(column), "infinity", "drop the row, or write NaN for a label that is missing")


def refuse(label: str, bad: NDArray[np.bool_], what: str, advice: str) -> None:
    """Raise if a column has bad elements, ``(rows, ...)``: the message says what they are ("NaN"), and in which row."""
    rows = np.unique(np.nonzero(bad)[0])
    if rows.size:
        shown = ", ".join(map(str, rows[:ROWS_SHOWN]))
        more = f" and {rows.size - ROWS_SHOWN} more" if rows.size > ROWS_SHOWN else ""
        raise DataError(f"{label} holds {what} at row {shown}{more} (counted from 0): {advice}")


def rows_with_labels(columns: list[NDArray[np.float64]], count: int) -> NDArray[np.bool_]:
    """Return which of the rows have a label in at least one of some columns, ``(rows,)``."""
    labelled = np.zeros(count, bool)
    for column in columns:
        labelled |= np.isfinite(column).reshape(count, -1).any(axis=1)
    return labelled


def mean_and_deviation(
    column: NDArray[np.float64], weights: NDArray[np.float64] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and standard deviation of the known labels, element by element; 0 where none is known."""
    centre = known_mean(column, weights)
    return centre, np.sqrt(known_mean((column - centre) ** 2, weights))


def known_mean(column: NDArray[np.float64], weights: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """Return the mean over the rows of what is known, weighted if rows have weights; 0 where nothing is."""
    counts = known_counts(column, weights)
    total = counts.sum(axis=0)
    return (np.where(np.isfinite(column), column, 0.0) * counts).sum(axis=0) / np.where(total > 0, total, 1.0)


def known_counts(column: NDArray[np.float64], weights: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """Return for how many labels each element counts: 0 where it is unknown, else 1, or the weight of its row."""
    present = np.isfinite(column).astype(np.float64)
    return present if weights is None else present * weights.reshape(-1, *(1,) * (column.ndim - 1))


def _column(label: str, array: ArrayLike) -> NDArray[np.float64]:
    try:
        column = np.asarray(array)
    except ValueError as error:
        raise DataError(f"{label} is not an array ({error}): give rows of one shape") from error
    if column.dtype.kind not in NUMBER_KINDS:
        advice = WORDS if column.dtype.kind in TEXT_KINDS else "convert it first"
        raise DataError(f"{label} has dtype {column.dtype}, expected real numbers: {advice}")
    if column.ndim == 0:
        raise DataError(f"{label} is a single number, expected rows: give an array of shape (rows, ...)")
    if column.size == 0:
        raise DataError(f"{label} is empty, shape {column.shape}: give at least one row")
    column = column.astype(np.float64)
    return column[:, None] if column.ndim == 1 else column


def _derivatives_of(output: str, by_input: Mapping[str, ArrayLike], x: Table, y: Table) -> Table:
    if output not in y:
        raise DataError(f"dydx names the output {output!r}, y has {list(y)}: use one of those")
    if not isinstance(by_input, Mapping):
        raise DataError(f"dydx[{output!r}] is {type(by_input).__name__}, expected a mapping: input -> array")
    if unknown := [wrt for wrt in by_input if wrt not in x]:
        raise DataError(f"dydx[{output!r}] names the input {unknown[0]!r}, x has {list(x)}: use one of those")
    table: Table = {}
    for wrt, array in by_input.items():
        label = ColumnKey("dydx", output, wrt).label
        column = table[wrt] = _column(label, array)
        shape = derivative_shape(y[output].shape[1:], x[wrt].shape[1:])
        if column.shape[1:] != shape:
            expected = ", ".join(["rows", *map(str, shape)])
            raise DataError(f"{label} has shape {column.shape}, expected ({expected}): output, then input")
    return table
