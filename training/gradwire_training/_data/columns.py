"""Columns of numbers: what is taken for one, and the words for what is not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import numpy as np

from gradwire._errors import DataError
from gradwire._package import derivative_shape

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from gradwire_training._data.truth import Derivatives, Table

# NumPy's kinds of real numbers; bool is left out, for it is hardly ever meant as one.
NUMBER_KINDS: Final = "iuf"
ROWS_SHOWN: Final = 5  # in a message; the rest are counted


def table_of(role: str, given: Mapping[str, ArrayLike] | ArrayLike, lone: str) -> Table:
    """Reads columns by name, or a plain array as the one column.

    Args:
        role: for messages, such as ``"x"``.
        given: name -> array ``(rows, *row shape)``, or one array.
        lone: the name of a plain array.

    Returns:
        name -> float64 array; rows of one number as ``(rows, 1)``.

    Raises:
        DataError: no column, no rows, or no real numbers.
    """
    named = given if isinstance(given, Mapping) else {lone: given}
    if not named:
        raise DataError(f"{role} has no columns: give at least one, name -> array")
    return {name: _rows(_numbers(f"{role} {name!r}", column)) for name, column in named.items()}


def tangents_of(role: str, given: Mapping[str, ArrayLike] | ArrayLike | None, table: Table) -> Table:
    """Reads directions, or derivatives along them: columns of the shapes of those that they belong to.

    Args:
        role: for messages, ``"x_dot"`` or ``"y_dot"``.
        given: name -> array; a plain array where the table has one column; None for none.
        table: the inputs or outputs.

    Raises:
        DataError: an unknown name, or another shape.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping) and len(table) > 1:
        raise DataError(f"{role} is a plain array, but there are columns {list(table)}: give {{name: array}}")
    found = table_of(role, given, next(iter(table)))
    for name, column in found.items():
        if name not in table:
            raise DataError(f"{role} names {name!r}, expected one of {list(table)}: use one of those")
        if column.shape[1:] != table[name].shape[1:]:
            raise DataError(
                f"{role} {name!r} has rows of shape {column.shape[1:]}, expected {table[name].shape[1:]}, as {name!r} has"
            )
    return found


def _numbers(label: str, given: ArrayLike) -> NDArray[np.float64]:
    try:
        array = np.asarray(given)
    except ValueError as error:
        raise DataError(f"{label} is no array ({error}): give rows of one shape") from error
    if array.dtype.kind not in NUMBER_KINDS:
        raise DataError(f"{label} has dtype {array.dtype}, expected real numbers: convert it first")
    if array.ndim == 0:
        raise DataError(f"{label} is a single number, expected rows: give an array of shape (rows, ...)")
    if array.size == 0:
        raise DataError(f"{label} is empty, shape {array.shape}: give at least one row")
    return array.astype(np.float64)


def _rows(column: NDArray[np.float64]) -> NDArray[np.float64]:
    return column[:, None] if column.ndim == 1 else column


def derivatives_of(given: Mapping[str, Mapping[str, ArrayLike]] | ArrayLike | None, x: Table, y: Table) -> Derivatives:
    """Reads derivatives, output -> input -> array; pairs may be left out.

    Raises:
        DataError: an unknown name, or a shape that is not the contract's.
    """
    match given:
        case None:
            return {}
        case Mapping():
            return {output: _derivatives_of(output, by, x, y) for output, by in given.items()}
        case _ if len(x) == len(y) == 1:
            (wrt,), (output,) = x, y
            return {output: _derivatives_of(output, {wrt: given}, x, y)}
        case _:
            raise DataError(
                f"dydx is a plain array, but there are inputs {list(x)} and outputs {list(y)}: "
                "give {output: {input: array}}"
            )


def _derivatives_of(output: str, given: Mapping[str, ArrayLike], x: Table, y: Table) -> Table:
    if output not in y:
        raise DataError(f"dydx names the output {output!r}, y has {list(y)}: use one of those")
    if not isinstance(given, Mapping):
        raise DataError(f"dydx[{output!r}] is {type(given).__name__}, expected a mapping: input -> array")
    if unknown := [wrt for wrt in given if wrt not in x]:
        raise DataError(f"dydx[{output!r}] names the input {unknown[0]!r}, x has {list(x)}: use one of those")
    table: Table = {}
    for wrt, column in given.items():
        label = f"dydx[{output!r}][{wrt!r}]"
        table[wrt] = _rows(_numbers(label, column))
        expected = derivative_shape(y[output].shape[1:], x[wrt].shape[1:])
        if table[wrt].shape[1:] != expected:
            wanted = ", ".join(["rows", *map(str, expected)])
            raise DataError(f"{label} has shape {table[wrt].shape}, expected ({wanted}): output, then input")
    return table


def check_rows(label: str, column: NDArray[np.float64], rows: int) -> None:
    """Refuses a column of another length, or with an infinity in it.

    Raises:
        DataError: names the column and the rows.
    """
    if len(column) != rows:
        raise DataError(f"{label} has {len(column)} rows, the first input has {rows}: give one row a sample")
    refuse(label, np.isinf(column), "infinity", "drop the row, or write NaN for a label that is missing")


def refuse(label: str, bad: NDArray[np.bool_], what: str, advice: str) -> None:
    """Refuses a column in which something is bad.

    Args:
        label: of the column.
        bad: where.
        what: is bad, such as ``"NaN"``.
        advice: what to do.

    Raises:
        DataError: names the rows.
    """
    rows = np.unique(np.nonzero(bad)[0])
    if rows.size:
        shown = ", ".join(map(str, rows[:ROWS_SHOWN]))
        more = f" and {rows.size - ROWS_SHOWN} more" if rows.size > ROWS_SHOWN else ""
        raise DataError(f"{label} holds {what} at row {shown}{more} (counted from 0): {advice}")
